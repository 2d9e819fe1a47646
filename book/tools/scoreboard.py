"""Write book/scoreboard.md from the cards of the shipped weights, or check that it is
up to date.

Nothing on the page is typed: `make weights` scored and rated the very files that ship,
and a test does it again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from book.tools.common import ROOT, shown, tell, write_whole
from minilib.weights import card

PAGE = ROOT / "book" / "scoreboard.md"
ROWS = {
    "ae_digits": "[Autoencoder](../chapters/01_autoencoder.ipynb), 16 features",
    "ae_digits_2d": "[Autoencoder](../chapters/01_autoencoder.ipynb), 2 features",
    "vae_digits": "[VAE](../chapters/02_vae.ipynb)",
    "dae_digits": "[Denoiser](../chapters/03_denoising.ipynb), walking down",
    "gan_digits": "[GAN](../chapters/04_gan.ipynb)",
    "cgan_digits": "[Conditional GAN](../chapters/04_gan.ipynb), every digit as often",
    "ddpm_digits": "[DDPM](../chapters/06_ddpm.ipynb), every digit as often",
    "adm_digits": "[ADM](../chapters/07_better_diffusion.ipynb), every digit as often",
}
# Those that draw what they are told: title, name of the card, what is asked, the score
# that says how often it is so
TOLD = (
    (
        "[Conditional GAN](../chapters/04_gan.ipynb)",
        "cgan_digits",
        "a digit",
        "agreement",
    ),
    ("[DDPM](../chapters/06_ddpm.ipynb)", "ddpm_digits", "a digit", "agreement"),
    (
        "[ADM](../chapters/07_better_diffusion.ipynb)",
        "adm_digits",
        "a digit",
        "agreement",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), portraits",
        "glide_portraits",
        "each claim of a caption",
        "claims",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), portraits",
        "glide_portraits",
        "a whole caption",
        "caption",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), scenes",
        "glide_scenes",
        "the colours of a caption",
        "colour",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), scenes",
        "glide_scenes",
        "a whole caption",
        "caption",
    ),
    (
        "[DALL·E](../chapters/13_dalle.ipynb), people",
        "dalle_people",
        "each claim of a caption",
        "claims",
    ),
    (
        "[DALL·E](../chapters/13_dalle.ipynb), people",
        "dalle_people",
        "a whole caption",
        "caption",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), people",
        "glide_people",
        "each claim of a caption",
        "claims",
    ),
    (
        "[GLIDE](../chapters/11_glide.ipynb), people",
        "glide_people",
        "a whole caption",
        "caption",
    ),
)
# name on the card → head of the column, decimals
COLUMNS = {
    "fd": ("FD ↓", 2),
    "kid": ("KID ↓", 3),
    "precision": ("precision ↑", 3),
    "recall": ("recall ↑", 3),
    "classifier_score": ("classifier score ↑", 2),
}
INTRO = """\
# Scoreboard

Every model of the book that draws, on the same pictures, by the same measures, in one \
table.
`make scoreboard` writes this page from the cards of the weights that ship; no number \
on it is typed.

Each model draws 10,000 pictures, and each is compared with the same 10,000 training \
digits, in the 128 features of our own digit classifier ({accuracy:.2%} right on the \
test digits).
Chapter 5 derives the measures.
FD is the Fréchet distance and KID the kernel distance of those features; precision \
asks whether a drawn picture could be real, recall whether a real one could be drawn; \
the classifier score is the Inception Score with our classifier, between 1 and 10.
None of them is the number of a paper: those use another network, so compare rows, not \
pages.
The first row is what 10,000 *real* test digits score: nobody has to do better.
"""
SHIPPED = """
## The story in one table

The weights that ship, from the oldest idea to the newest.
Mean ± standard deviation over five *sampling* seeds: what the luck of the draw does \
to one trained model, of training seed 0.
"After a minute" is the FD of the same recipe at the quick budget, from the next table.
Times are wall times on {machine}; machines differ, so read them as ratios.

"""
QUICK = """
## A laptop's minute

The same recipes, stopped at the quick budget of the chapters, in detail.
Mean ± standard deviation over three *training* seeds, 0 to 2, each with one draw: \
what the luck of the training does.

"""
OBEDIENCE = """
## What they are told

From the conditional GAN on, models can be told what to draw.
Digits are judged by our classifier, people by a network trained to tell their \
attributes, portraits and scenes by a checker without any learned part; prompts have \
a pair of attributes that training never showed together.
GLIDE of people was trained for as long as DALL·E and its discrete VAE together, timed \
in turns on one machine; the times below are of different days.

| model | asked for | so it is | parameters | training |
| --- | --- | ---: | ---: | ---: |
"""
OUTRO = """
An autoencoder draws by decoding codes from the Gaussian that fits its training codes; \
chapter 1 shows why that goes wrong.
The conditional GAN and the diffusion models draw every digit equally often, as the \
training digits come; the test digits come a little less evenly, so that these models \
can pass their FD and KID.
The diffusion models draw in 20 steps of DDIM with η = 0.5, the number of network \
calls that their drawing time is for.
"""


def cell(values: list[float], decimals: int) -> str:
    """Mean ± standard deviation, or the value where there is only one."""
    spread = f" ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{decimals}f}{spread}"


def table(
    ratings: dict[str, dict[str, list[float]]],
    more: dict[str, list[str]],
    heads: list[str],
) -> str:
    """A Markdown table: a row for each model, its ratings, then its cells in `more`
    under `heads`.
    """
    titles = ["model", *(head for head, _ in COLUMNS.values()), *heads]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for title, numbers in ratings.items():
        cells = [
            cell(numbers[name], decimals) for name, (_, decimals) in COLUMNS.items()
        ]
        lines.append([title, *cells, *more.get(title, [""] * len(heads))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def costs(facts: dict[str, Any]) -> list[str]:
    return [*training(facts), f"{facts['seconds_per_1000_samples']:.2f} s"]


def training(facts: dict[str, Any]) -> list[str]:
    return [
        f"{facts['parameters']:,}",
        f"{facts['steps']:,} steps, {facts['seconds'] / 60:.0f} min",
    ]


def obedience() -> str:
    """The rows of those that are told what to draw."""
    rows = []
    for title, name, asked, score in TOLD:
        facts = card(name)
        rows.append([title, asked, f"{facts['score'][score]:.1%}", *training(facts)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page() -> str:
    eyes = card("digit_classifier")
    cards = {title: card(name) for name, title in ROWS.items()}
    floor = {"Real digits (the floor)": eyes["floor"]}
    machine = " and ".join(sorted({facts["machine"] for facts in cards.values()}))
    shipped = table(
        floor | {title: facts["samples"] for title, facts in cards.items()},
        {
            title: [cell(facts["quick"]["fd"], 2), *costs(facts)]
            for title, facts in cards.items()
        },
        ["FD after a minute ↓", "parameters", "training", "drawing 1,000"],
    )
    quick = table(
        floor | {title: facts["quick"] for title, facts in cards.items()},
        {
            title: [f"{facts['recipe']['quick']:,} steps"]
            for title, facts in cards.items()
        },
        ["training"],
    )
    intro = INTRO.format(accuracy=eyes["score"]["accuracy"])
    return (
        intro
        + SHIPPED.format(machine=machine)
        + shipped
        + QUICK
        + quick
        + OUTRO
        + OBEDIENCE
        + obedience()
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.scoreboard",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail where the page is out of date",
    )
    wanted = page()
    if parser.parse_args(arguments).check:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted
        return tell(
            [f"{shown(PAGE)} is out of date: run make scoreboard"] * stale,
            "the scoreboard is that of the weights",
        )
    write_whole(PAGE, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

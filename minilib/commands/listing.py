"""python -m minilib list [NAME]."""

from __future__ import annotations

import argparse
import textwrap

from minilib import weights
from minilib.commands.catalogue import CATALOGUE, budgets, known

# of a score whose name begins so, the longest that fits: what it means
MEANINGS = {
    "accuracy": "share of unseen pictures put into their class; more is better",
    "accuracy_t": "accuracy at that step of the noise; more is better",
    "agreement": "share of drawn digits that the classifier takes for the one asked "
    "for; more is better",
    "caption": "share of drawn pictures in which all of the caption holds; more is "
    "better",
    "claims": "share of what captions say that holds in the drawn pictures; more is "
    "better",
    "cell": "share of drawn emoji whose nearest picture, in row and in column, is the "
    "true one; more is better",
    "clear": "share of drawn scenes that show clear things only; more is better",
    "column": "share of drawn emoji whose nearest picture in the style, of 935, is the "
    "true one; more is better",
    "digits_covered": "how many of the ten digits the drawn pictures show; 10 is best",
    "elbo": "bound on the log-likelihood of unseen pictures, in nats; more is better",
    "fd": "distance of the drawn (or rebuilt) pictures from real ones; less is better",
    "fd_floor": "distance of real pictures from other real ones: no FD gets below it",
    "mse": "squared error a pixel of rebuilt unseen pictures; less is better",
    "right": "share of what unseen pictures show that is told right; more is better",
    "perplexity": "how many code words, used alike, were as diverse; more is better",
    "bits": "minus the ELBO of unseen pictures, in bits a number; less is better",
    "binding": "share of captions of several things that are all there, each with its "
    "own attributes; more is better",
    "row": "share of drawn emoji whose nearest picture of what they show, in 5 styles, "
    "is the true one; more is better",
    "spatial": "share of captions of two things that stand as told; more is better",
    "r1_caption": "how often a picture's caption is found first, among 100 (among all "
    "of the emoji); more is better",
    "r1_picture": "how often a caption's picture is found first, among 100 (among all "
    "of the emoji); more is better",
    "r1_caption_1000": "how often a picture's caption is found first, among 1,000; "
    "more is better",
    "r1_picture_1000": "how often a caption's picture is found first, among 1,000; "
    "more is better",
    "cosine_prior": "mean cosine of what the prior imagines to the embedding of the "
    "picture; more is better",
    "cosine_text": "the same of the text embedding",
    "cosine_another": "the same of another picture's embedding: what chance gives",
    "perfect_picture_1000": "the same of who errs in nothing: a caption may be true "
    "of several",
}
# what a caption of scenes says, kind by kind
MEANINGS |= {
    kind: f"share of captions whose {kind} holds in the drawn picture; more is better"
    for kind in ("size", "texture", "colour", "shape", "count", "background")
}
# the score that the table shows, if a card has several
FIRST = ("fd_samples", "caption", "r1_caption_test")


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a recipe, to see its card, its words and an example; all if left out",
    )
    command.set_defaults(run=show_list)


def show_list(options: argparse.Namespace) -> None:
    """A table of all recipes: steps, what they draw from, and the score of what ships;
    or all about one.
    """
    print(about(known(options.name)) if options.name else table())


def scores(name: str) -> dict[str, float]:
    """The scores on the card of a recipe; none where no weights ship."""
    return weights.card(name)["score"] if name in weights.names() else {}


def main_score(name: str) -> str:
    """The score that stands for a recipe in the table: its name and value."""
    found = scores(name)
    key = next((key for key in FIRST if key in found), next(iter(found), ""))
    return f"{key} {found[key]:.4g}" if key else missing(name)


def missing(name: str) -> str:
    """Why a recipe has no score."""
    seeds = any(other.startswith(f"{name}_seed") for other in weights.names())
    return "only quick trainings ship" if seeds else "no weights ship"


def draws(source: str) -> str:
    return f"from {source}" if source else "-"


def table() -> str:
    """A line a recipe in columns; below, what the scores mean and the size of all."""
    rows = [("NAME", "DRAWS", "QUICK", "FULL", "SCORE")]
    rows += [
        (name, draws(source), *budgets(name), main_score(name))
        for name, source in CATALOGUE.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}"
        for a, b, c, d, e in rows
    ]
    shown = {stem(main_score(name).split()[0]) for name in CATALOGUE if scores(name)}
    sizes = [weights.card(name)["bytes"] for name in weights.names()]
    return "\n".join(
        [
            *lines,
            "",
            "DRAWS: what sample draws pictures from; - where it draws none",
            "QUICK, FULL: steps of training",
            *(wrapped(f"{key}: {MEANINGS[key]}") for key in sorted(shown)),
            "list NAME tells more of one.",
            f"{len(sizes)} files of weights ship, {sum(sizes) / 1e6:.1f} MB in all",
        ]
    )


def stem(key: str) -> str:
    """The longest beginning of a score's name whose meaning is known."""
    return max((known for known in MEANINGS if key.startswith(known)), key=len)


def about(name: str) -> str:
    """The card of a recipe, what its scores mean, the words that it reads, and a
    command to try.
    """
    source, shipped = CATALOGUE[name], name in weights.names()
    quick, full = budgets(name)
    lines = [
        name,
        f"draws     {draws(source) if source else 'no pictures'}",
        f"steps     {quick} quick, {full} full",
    ]
    if shipped:
        card = weights.card(name)
        lines += [
            wrapped(f"limits    {card['limits']}"),
            wrapped(f"data      {card['data']}"),
            f"trained   {card['steps']:,} steps, {card['seconds']:,.0f} s, seed "
            f"{card['seed']}, {card['date']}",
            f"machine   {card['machine']}",
            f"size      {card['parameters']:,} parameters, "
            f"{card['bytes'] / 1e6:.1f} MB",
            f"sha256    {card['sha256']}",
        ]
    else:
        lines += [f"weights   {missing(name)}"]
    lines += [
        wrapped(f"{key} {value:.4g}: {MEANINGS[stem(key)]}")
        for key, value in scores(name).items()
    ]
    if source.startswith("prompt"):
        lines += ["words"]
        lines += [
            wrapped(f"  {kind:<14}{', '.join(said)}", 16)
            for kind, said in words(name).items()
        ]
    return "\n".join([*lines, f"try       {example(name)}"])


def wrapped(text: str, indent: int = 10) -> str:
    return textwrap.fill(text, 88, subsequent_indent=" " * indent)


def words(name: str) -> dict[str, list[str]]:
    """The words that a prompt may hold, kind by kind; what is of no kind, if there is
    any, comes last.
    """
    from minilib import recipes  # torch, and all models: seconds

    tokenizer = recipes.get(name).tokenizer
    assert tokenizer is not None
    heard = [word for word in tokenizer().heard() if any(map(str.isalnum, word))]
    found = kinds(name)
    named = {word for said in found.values() for one in said for word in one.split()}
    other = [word for word in heard if word not in named]
    return found | ({"other": other} if other else {})


def kinds(name: str) -> dict[str, list[str]]:
    """What captions of the recipe's world say, kind by kind."""
    if "scenes" in name:
        return scene_kinds()
    if "emoji" in name:
        return emoji_kinds()
    return people_kinds() if "people" in name else portrait_kinds()


def people_kinds() -> dict[str, list[str]]:
    """What captions of people say of 32 × 32 pixels, kind by kind."""
    from minilib.data.people.attributes import values
    from minilib.data.people.captions import UNSAID, plain

    found: dict[str, list[str]] = {}
    for name, shown in values("personas", 32).items():
        kind = "colour" if name.endswith("colour") else name.replace("_", " ")
        said = ["thinning" if value == "balding" else plain(value) for value in shown]
        known = found.setdefault(kind, [])
        known += [word for word in said if word not in (*UNSAID, *known)]
    found["hat"].append("hat")
    return found


def emoji_kinds() -> dict[str, list[str]]:
    """What captions of emoji say: a name, and one of the styles."""
    from minilib.recipes.dalle_grid import names, styles

    return {"style": list(styles()), "name": list(names())}


def portrait_kinds() -> dict[str, list[str]]:
    """What captions of portraits say, kind by kind."""
    from minilib.data.portraits.captions import SAID
    from minilib.data.portraits.drawing import VALUES

    return {
        "hair length" if kind == "length" else kind: [
            word for value in values for word in SAID.get(value, (value,))
        ]
        for kind, values in VALUES.items()
    }


def scene_kinds() -> dict[str, list[str]]:
    """What captions of scenes say, kind by kind."""
    from minilib.data.scenes import captions, drawing

    return {
        "size": list(drawing.SIZES),
        "texture": list(drawing.TEXTURES),
        "colour": list(drawing.TINTS),
        "shape": [*drawing.SHAPES, *map(captions.plural, drawing.SHAPES)],
        "count": [*captions.NUMBERS, "3", "4"],
        "place": [saying for pair in captions.SAYINGS.values() for saying in pair],
        "background": list(drawing.GROUNDS),
    }


def example(name: str) -> str:
    """A command that works with what ships."""
    more = {"class": " --class 3", "prompt": f' "{prompt(name)}"'}
    source = CATALOGUE[name]
    if source and name in weights.names():
        return f"python -m minilib sample {name}{more.get(source.split(',')[0], '')}"
    return f"python -m minilib train {name}"


def prompt(name: str) -> str:
    """What a recipe that reads can draw."""
    if "scenes" in name:
        return "a red circle"
    return "red apple, noto style" if "emoji" in name else "a person with a red hat"

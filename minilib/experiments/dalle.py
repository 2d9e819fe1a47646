"""Chapter 13: byte pair encoding, captions and pictures as one sequence, and what
limits such a model.
"""

from __future__ import annotations

from itertools import zip_longest

from minilib.claims import PROMPT
from minilib.data import corpus
from minilib.experiments.dalle_parts import (
    NARROW,
    WIDE,
    Arm,
    any_texts,
    best_by_clip,
    drawn,
    held_out,
    most_frequent_left,
    nats,
    painter,
    plain_merges,
    shares,
    trained,
)
from minilib.experiments.experiment import (
    Bound,
    Compare,
    Experiment,
    Measured,
    Size,
    mean,
)
from minilib.models.glide import null_captions
from minilib.text.bpe import BPE
from minilib.text.bpe_training import train

# ---------- DALLE-2 ----------

MERGES = "merges of the shipped corpus that are not the plain loop's"
UNTIL_ONCE = "merges of its beginning, to the last, that are not the plain loop's"
LEFT = "occurrences beyond one of the most frequent pair that is left there"
FULL = "tokens more or fewer than the vocabulary holds, where pairs are left"
ROUND_TRIP = "texts and random bytes that come back changed"
ENDLESS = 1_000_000  # tokens: no vocabulary that the texts could fill


def joined(bpe: BPE) -> list[tuple[bytes, bytes]]:
    """What each merge joins, in order."""
    return [(bpe.tokens[left], bpe.tokens[right]) for left, right in bpe.merges]


def byte_pairs(seed: int, size: Size) -> Measured:
    """DALLE-2: our trainer beside the plain loop, on English until the vocabulary is
    full, and on some of it until no pair occurs twice; then what it encodes.
    """
    room = size.pick(live=30, quick=500, full=4_000)
    text = corpus.text()[: size.pick(live=100_000, quick=None, full=None)]
    start = text[: size.pick(live=1_000, quick=10_000, full=20_000)]
    english, some = train(text, 256 + room, special=[]), train(start, ENDLESS)
    differ = [
        sum(a != b for a, b in zip_longest(joined(bpe), plain_merges([part], most)))
        for bpe, part, most in ((english, text, room), (some, start, ENDLESS))
    ]
    n = size.pick(live=100, quick=1_000, full=10_000)
    texts = [*any_texts(n, seed), *(line.encode() for line in text.splitlines()[:n])]
    return {
        MERGES: differ[0],
        UNTIL_ONCE: differ[1],
        LEFT: max(most_frequent_left(some, [start]) - 1, 0),
        FULL: abs(len(english) - 256 - room),
        ROUND_TRIP: sum(
            bpe.decode_bytes(bpe.encode(one)) != one
            for bpe in (english, some)
            for one in texts
        ),
    }


# all of these are counts: not one is allowed
DALLE_2 = Experiment(
    "DALLE-2",
    "Byte pair encoding merges the most frequent pair, again and again, until no pair "
    "occurs twice or the vocabulary is full; any text comes back from its tokens.",
    byte_pairs,
    tuple(Bound(name, 0.5) for name in (MERGES, UNTIL_ONCE, LEFT, FULL, ROUND_TRIP)),
    seeds=1,
)

# ---------- DALLE-3 ----------

HELPED = "nats of 64 image tokens: without a caption − with their own"
MISLED = "nats of 64 image tokens: with the next person's caption − without"
OBEYS = "claims that hold of one draw: its own caption's − the next person's"
RERANKED = "claims that hold: of 8 draws the best by CLIP − the first"
WHOLE = "captions of which all claims hold: of 8 draws the best by CLIP − the first"
A_TENTH = 6.4  # nats: a tenth of a nat a token, which makes it a tenth likelier


def one_sequence(seed: int, size: Size) -> Measured:
    """DALLE-3: likelihoods of unseen pictures of people with a pair of attributes that
    training never showed, and what is drawn for their captions.
    """
    n = size.pick(live=16, quick=500, full=1_000)
    model = painter(size.pick(live=0, quick=0, full=seed))
    texts, text, image = held_out(n, 60 + seed)
    own, none, wrong = (
        nats(model, told, image)
        for told in (text, null_captions(text), text.roll(-1, dims=0))
    )
    x = drawn(model, text, 8, seed)
    first, best = (shares(found, texts) for found in (x[:, 0], best_by_clip(x, text)))
    whole = [[float(share == 1) for share in side] for side in (best, first)]
    return {
        HELPED: (none, own),
        MISLED: (wrong, none),
        OBEYS: (first, shares(x[:, 0], [*texts[1:], texts[0]])),
        RERANKED: (best, first),
        WHOLE: (whole[0], whole[1]),
    }


DALLE_3 = Experiment(
    "DALLE-3",
    "Text and image tokens are one sequence for an autoregressive transformer: its own "
    "caption makes a picture likelier than none, another one less likely; it draws "
    "what a caption says, and re-ranking by CLIP raises how much of it holds.",
    one_sequence,
    (
        Compare(HELPED, A_TENTH),
        Compare(MISLED, A_TENTH),
        Compare(OBEYS, 0.1),
        Compare(RERANKED, 0.02),  # one more claim for every seven captions
        Compare(WHOLE, 0.05),
    ),
    PROMPT,
    2,
)

# ---------- DALLE-5 ----------

MORE_DATA = "nats of an unseen picture, narrow: few pictures − 16 times as many"
MORE_DATA_WIDE = "nats of an unseen picture, 4 times as wide: few − 16 times as many"
NOT_WIDTH = "nats: few pictures, 4 times as wide − narrow, 16 times the pictures"
NOT_LOSS = "nats: few pictures, no loss of text − loss of text, 16 times the pictures"
CLAIMS = "claims that hold: narrow, 16 times the pictures − 4 times as wide, few"


def what_limits(seed: int, size: Size) -> Measured:
    """DALLE-5: five networks of equal steps, judged on people with a pair of attributes
    that training never showed. Of the many pictures each is seen once at quick size,
    three times at full size.
    """
    steps = size.pick(live=20, quick=400, full=3_600)
    most = size.pick(live=640, quick=12_800, full=40_000)
    few = most // 16
    arms = {
        "few": Arm(NARROW, few),
        "many": Arm(NARROW, most),
        "wide": Arm(WIDE, few),
        "both": Arm(WIDE, most),
        "loss": Arm(NARROW, few, text_too=False),
    }
    people = held_out(size.pick(live=50, quick=1_000, full=2_000), 70)
    prompts = size.pick(live=8, quick=200, full=1_000)
    loss, claims = {}, {}
    for name, arm in arms.items():
        model = trained(arm, most, steps, seed)
        loss[name] = mean(nats(model, people.text, people.image))
        if name in ("many", "wide"):
            x = drawn(model, people.text[:prompts], 1, seed)[:, 0]
            claims[name] = mean(shares(x, people.texts[:prompts]))
    return {
        MORE_DATA: (loss["few"], loss["many"]),
        MORE_DATA_WIDE: (loss["wide"], loss["both"]),
        NOT_WIDTH: (loss["wide"], loss["many"]),
        NOT_LOSS: (loss["loss"], loss["many"]),
        CLAIMS: (claims["many"], claims["wide"]),
    }


DALLE_5 = Experiment(
    "DALLE-5",
    "The amount of data, rather than structure or loss, limits such a model: 16 times "
    "the pictures help more than 4 times the width, or a loss of image tokens alone.",
    what_limits,
    (
        Compare(MORE_DATA, A_TENTH),
        Compare(MORE_DATA_WIDE, A_TENTH),
        Compare(NOT_WIDTH, A_TENTH),
        Compare(NOT_LOSS, A_TENTH),
        Compare(CLAIMS, 0.02),
    ),
    seeds=3,
)

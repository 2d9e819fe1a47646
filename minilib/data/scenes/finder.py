"""What is in a scene? Answers without any learned part: things are cut out, and drawn
anew until they fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from minilib.data.scenes.drawing import (
    GROUNDS,
    SIZES,
    TINTS,
)
from minilib.data.scenes.stamps import (
    KINDS,
    LEVELS,
    SIZE,
    Drawn,
    Stamps,
    palette,
    stamps,
)
from minilib.runtime import require_images

# how wrong a pixel can be: the squared difference of two colours in [0, 1], summed over
# red, green and blue
CAP = 0.25
# a pixel whose squared difference from what is expected is above this is one of another
# thing
STANDS_OUT = 0.05
LEAST = 16  # pixels of a thing, at least
MOST = 5  # things that are looked for: one more than a caption can ask for
# so many pixels, times their contrast, must a value fit better than any other; else it
# is "can't tell"
MARGIN = 0.3
DOUBT = 8.0  # and so many times what is wrong with a pixel of the thing anyway
STRANGE = 0.4  # with a larger share of its pixels wrong a thing is none of ours
BLURS = (0.0, 1.0)  # pixels; a picture is first taken to be sharp
CLEAN = (
    0.003  # with a mean misfit of a pixel below this there is no need for another try
)


@dataclass(frozen=True)
class Seen:
    """A thing that was found: its attributes, None for "can't tell"; and where its
    middle is, in [0, 1].
    """

    attributes: dict[str, str | None]
    x: float
    y: float


@dataclass(frozen=True)
class View:
    """What a picture shows: its things from back to front; how two are arranged and the
    background, None for unsure.
    """

    things: list[Seen]
    arrangement: str | None
    background: str | None


def misfit(x: Tensor, guess: Tensor) -> Tensor:
    """How far guesses (…, 3, 32, 32) are from x (3, 32, 32), pixel by pixel: squared
    differences (…, 32, 32).
    """
    return (x - guess).square().sum(dim=-3).clamp(max=CAP)


# ---------- one thing ----------


def middles(low: int, high: int, half: float) -> list[int]:
    """Where, in half pixels, the middle of a thing of that half width is, whose pixels
    are from `low` to `high`.

    In a longer row of pixels it is at either end, in a much shorter one nowhere.
    """
    if high - low > 2 * half + 3:
        return [round(2 * (low + half)), round(2 * (high - half))]
    return [low + high] if high - low > 2 * half - 8 else []


def places(piece: np.ndarray) -> Tensor:
    """Every kind wherever it may be, if the pixels of `piece` (32, 32) belong to it:
    (N, 3) for `Stamps.cut`.
    """
    rows, columns = (np.nonzero(piece.any(axis=axis))[0] for axis in (1, 0))
    found = []
    for size, width in SIZES.items():
        across, down = (
            middles(int(z[0]), int(z[-1]) + 1, width * SIZE / 2)
            for z in (columns, rows)
        )
        kinds = [i for i, kind in enumerate(KINDS) if kind[1] == size]
        found += [(kind, x + dx, y + dy) for kind in kinds for x in across for y in down
                  for dx in (-2, 0, 2) for dy in (-2, 0, 2)]  # fmt: skip
    return torch.tensor(found or [(0, 32, 32)]).clamp(min=0, max=64)


@dataclass(frozen=True)
class Surroundings:
    """Where a thing is to be drawn: what is `below` it (3, 32, 32); what hides it:
    paint, and what shines through.
    """

    below: Tensor
    paint: Tensor
    through: Tensor  # (1, 32, 32)

    def errors(self, kit: Stamps, x: Tensor, things: list[Drawn]) -> list[float]:
        """The misfit with x of each of the things, drawn here."""
        paint, clear = kit.drawn(things)
        return (
            misfit(x, (self.below * clear + paint) * self.through + self.paint)
            .sum(dim=(1, 2))
            .tolist()
        )


def rough(kit: Stamps, x: Tensor, here: Surroundings, at: Tensor) -> Tensor:
    """The misfit of things (N, 3) in each of the 8 colours: (N, 8), but for a constant.

    It is soon done, since a mixture of two colours in a pixel counts as the mean of
    their misfits.
    """
    # (8, levels, 3, 1, 1)
    tints = palette("things")[:, None, :, None, None] * LEVELS[:, None, None, None]
    # (8, levels, 32, 32)
    gains = (misfit(x, tints) - misfit(x, here.below)) * here.through
    return kit.cut(at).flatten(1) @ gains.flatten(1).T


def candidates(table: Tensor, at: Tensor) -> list[Drawn]:
    """For each shape, each size, each texture in each colour what fits best, by the
    misfits (N, 8) of places (N, 3).
    """
    rows, colours = len(at), len(TINTS)
    kind, colour = (
        at[:, :1].expand(rows, colours),
        torch.arange(colours).expand(rows, colours),
    )
    found = []
    # KINDS are in the order of these quotients
    for column in (kind // 9, kind // 3 % 3, kind % 3 * colours + colour):
        for value in column.unique().tolist():
            found.append(int(table.masked_fill(column != value, torch.inf).argmin()))
    places = [(*at[i // colours].tolist(), i % colours) for i in dict.fromkeys(found)]
    return [Drawn(*place) for place in places]


def fit(kit: Stamps, x: Tensor, here: Surroundings, at: Tensor) -> tuple[Drawn, Seen]:
    """The thing that comes nearest to x (3, 32, 32) when drawn at one of the places
    `at` (N, 3).

    The candidates are drawn exactly, and from the best one it goes on to better
    neighbours until there is none. A value is told where it fits better than any other
    by MARGIN.
    """
    errors: dict[Drawn, float] = {}
    near, best = candidates(rough(kit, x, here, at), at), None
    while best is None or near:
        errors |= zip(near, here.errors(kit, x, near), strict=True)
        if best == (best := min(errors, key=errors.__getitem__)):
            break
        near = [thing for thing in best.neighbours() if thing not in errors]
    least = errors[best]
    paint, clear = kit.drawn([best])
    mine, alone = 1 - clear[0, 0], here.below * clear[0] + paint[0]
    contrast = float(misfit(here.below, alone).sum() / mine.sum())
    wrong = misfit(x, alone * here.through + here.paint)[mine * here.through[0] > 0.5]
    margin = max(MARGIN * contrast, DOUBT * float(wrong.median()))
    told: dict[str, str | None] = {}
    for name, value in best.values().items():
        others = [error for c, error in errors.items() if c.values()[name] != value]
        told[name] = value if min(others, default=torch.inf) - least > margin else None
    if float((wrong > CAP / 3).float().mean()) > STRANGE:
        told = dict.fromkeys(told)
    return best, Seen(told, best.x / (2 * SIZE), best.y / (2 * SIZE))


# ---------- all of them ----------


def piece_of(x: Tensor, canvas: Tensor, covered: Tensor) -> np.ndarray | None:
    """The largest piece (32, 32) of x that is not on the canvas yet; None where nothing
    is left.

    Stripes may be invisible on what they lie on: there, where `covered` (32, 32),
    neighbouring pieces are one.
    """
    wrong = F.avg_pool2d(x - canvas, 3, 1, 1).square().sum(dim=0) > STANDS_OUT / 4
    raw = (wrong & (misfit(x, canvas) > STANDS_OUT)).numpy()
    # no thin lines alone
    wrong = ndimage.binary_propagation(
        ndimage.binary_opening(raw, np.ones((2, 2))), mask=raw
    )
    inside = covered.numpy()
    wrong |= ndimage.binary_closing(wrong & inside, np.ones((3, 3))) & inside
    pieces, _ = ndimage.label(wrong)
    sizes = np.bincount(pieces.ravel())[1:]
    return (
        None if not len(sizes) or sizes.max() < LEAST else pieces == 1 + sizes.argmax()
    )


def things_in(kit: Stamps, x: Tensor, ground: Tensor) -> list[tuple[Drawn, Seen]]:
    """The things on a plain ground (3, 1, 1), back to front: found one by one, then
    each again among the others.
    """
    canvas = empty = ground.expand(3, SIZE, SIZE)
    covered = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    found: list[tuple[Drawn, Seen]] = []
    while len(found) < MOST and (piece := piece_of(x, canvas, covered)) is not None:
        here = Surroundings(canvas, torch.zeros_like(empty), torch.ones_like(empty[:1]))
        thing, seen = fit(kit, x, here, places(piece))
        paint, clear = kit.drawn([thing])
        explained = canvas * clear[0] + paint[0]
        part = torch.from_numpy(piece)
        before, after = (
            float(misfit(x, guess)[part].sum()) for guess in (canvas, explained)
        )
        if after < 0.75 * before:
            found.append((thing, seen))
            canvas, covered = explained, covered | (clear[0, 0] < 0.5)
        else:  # nothing of ours
            canvas = torch.where(part, x, canvas)
            if before > LEAST * CAP:
                found.append(
                    (thing, replace(seen, attributes=dict.fromkeys(seen.attributes)))
                )
    return [again(kit, x, empty, found, i) for i in range(len(found))]


def again(
    kit: Stamps, x: Tensor, ground: Tensor, found: list[tuple[Drawn, Seen]], which: int
) -> tuple[Drawn, Seen]:
    """One of the things found anew, now that those are known which it hides, or which
    hide it.
    """
    paint, clear = kit.drawn([thing for thing, _ in found])
    cover = 1 - clear
    if float((cover[which] * cover).sum()) - float(cover[which].square().sum()) == 0:
        return found[which]
    below, hidden, through = (
        ground,
        torch.zeros_like(ground),
        torch.ones_like(ground[:1]),
    )
    for i in range(which):
        below = below * clear[i] + paint[i]
    for i in range(which + 1, len(found)):
        hidden, through = hidden * clear[i] + paint[i], through * clear[i]
    thing, moves = found[which][0], (-2, 0, 2)
    at = [
        (kind, thing.x + dx, thing.y + dy)
        for kind in range(len(KINDS))
        for dx in moves
        for dy in moves
    ]
    return fit(
        kit,
        x,
        Surroundings(below, hidden, through),
        torch.tensor(at).clamp(min=0, max=2 * SIZE),
    )


def arrangement(things: list[Drawn]) -> str | None:
    """How two things are arranged, None for any other number: see `Scene`."""
    if len(things) != 2:
        return None
    back, front = 1 - stamps(BLURS[0]).drawn(things)[1][:, 0]
    hidden = float((back * front).sum() / front.sum())
    if hidden > 0.1:
        return "inside" if hidden > 0.95 else "in front of"
    across, down = abs(things[0].x - things[1].x), abs(things[0].y - things[1].y)
    return "beside" if across > down else "stacked"


def view_of(x: Tensor) -> View:
    """What one picture (3, 32, 32) in [0, 1] shows, be it sharp or blurred by about a
    pixel.
    """
    rim = torch.cat([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], dim=1)  # (3, 128)
    # (3 grounds,)
    far = (rim.median(dim=1).values - palette("grounds")).square().sum(dim=1)
    which = int(far.argmin())
    if not far[which] <= STANDS_OUT / 4:  # so that a NaN is none either
        return View([], None, None)
    ground, tries = palette("grounds")[which, :, None, None], []
    for blur in BLURS:
        found = things_in(stamps(blur), x, ground)
        tries.append((error_of(stamps(blur), x, ground, found), found))
        if tries[-1][0] < CLEAN and all(
            all(seen.attributes.values()) for _, seen in found
        ):
            break
    _, found = min(tries, key=lambda pair: pair[0])
    return View(
        [seen for _, seen in found],
        arrangement([thing for thing, _ in found]),
        list(GROUNDS)[which],
    )


def error_of(
    kit: Stamps, x: Tensor, ground: Tensor, found: list[tuple[Drawn, Seen]]
) -> float:
    """The mean misfit of a pixel when the things that were found are drawn on the
    ground.
    """
    canvas = ground.expand(3, SIZE, SIZE)
    for thing, _ in found:
        paint, clear = kit.drawn([thing])
        canvas = canvas * clear[0] + paint[0]
    return float(misfit(x, canvas).mean())


@torch.no_grad()
def recognise_scenes(x: Tensor) -> list[View]:
    """What pictures x (N, 3, 32, 32) in [-1, 1] show. Raises ValueError for pictures of
    another shape.
    """
    require_images(x, (3, SIZE, SIZE))
    return [view_of(picture) for picture in x.float() / 2 + 0.5]

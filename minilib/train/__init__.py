"""One training loop for every model in the book: any loss over any batches, resumable
to the bit, or under torchrun.

A loss that needs randomness takes a keyword `draw` (see `Draw`). The gradient's norm is
bounded by 1. Weights are averaged with a decay of 0.999, in the first steps less:
(1 + step)/(10 + step). The model multiplies in `runtime.precision`; weights, optimizer
and average stay in float32. Under torchrun each process takes its rows of every batch:
the steps are those of one process, to rounding.

With `checkpoint` the run saves itself every 500 steps or 20 seconds, and when Ctrl-C or
SIGTERM stops it at the end of a step. It goes on from that file where it exists: on a
CPU to the bit. The file knows the settings, the loss with its options and the first
batch, and another run is refused.

Networks that train in turn have a loss each: {"discriminator": …, "generator": …} names
submodules of the model. In every step each takes its turn, in that order and on the
same batch, and its loss moves its own parameters alone.
"""

from minilib.train.batches import Batch, Draw, generator, shuffled
from minilib.train.loop import Fitted, Trainer, fit, learning_rate, update_ema
from minilib.train.players import Loss

__all__ = [
    "Batch",
    "Draw",
    "Fitted",
    "Loss",
    "Trainer",
    "fit",
    "generator",
    "learning_rate",
    "shuffled",
    "update_ema",
]

"""What a terminal shows of work that says nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

TICK = 1.0  # seconds


@contextmanager
def clock(what: str) -> Iterator[None]:
    """While it lasts, a line on a terminal says what is done and for how long, each
    second anew; then it goes. Where stderr is no terminal nothing is written.
    """
    over = threading.Event()
    # a bar without an end: disable=None leaves it out where there is no terminal
    line = tqdm(desc=what, bar_format="{desc}: {elapsed}", leave=False, disable=None)

    def tick() -> None:
        while not over.wait(TICK):
            line.refresh()

    thread = threading.Thread(target=tick, name="clock", daemon=True)
    with line:
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

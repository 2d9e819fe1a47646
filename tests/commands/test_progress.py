"""The line that says how long something has taken."""

import io
import sys
import threading

import pytest

from minilib.commands import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("fails", [False, True])
def test_a_clock_ticks_on_a_terminal_and_goes(monkeypatch, fails):
    screen, ticked = Terminal(), threading.Event()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "TICK", 0.01)
    refresh = progress.tqdm.refresh

    def seen(self, *arguments, **options):
        ticked.set()
        return refresh(self, *arguments, **options)

    try:
        with progress.clock("scoring"):
            ticked.clear()  # of the first line
            monkeypatch.setattr(progress.tqdm, "refresh", seen)
            assert ticked.wait(10)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert "scoring: 00:00" in screen.getvalue()
    assert screen.getvalue().endswith("\r")  # the line is wiped
    assert not [t for t in threading.enumerate() if t.name == "clock"]


def test_a_clock_writes_nothing_where_there_is_no_terminal(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress.clock("scoring"):
        pass
    assert log.getvalue() == ""

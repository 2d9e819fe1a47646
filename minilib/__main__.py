"""python -m minilib train|sample|list|measure|tokens: the recipes, the claims and the
tokenizer from the command line.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from minilib import __version__
from minilib.commands import listing, measure, sample, tokens, train

NUMBER = re.compile(r"^\[(Errno|WinError) \d+\] ")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    root = argparse.ArgumentParser(prog="python -m minilib", description=__doc__)
    root.add_argument("--version", action="version", version=f"minilib {__version__}")
    commands = root.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("name", metavar="NAME", help="a recipe's name (see list)")
    shared.add_argument(
        "--device", help="cpu, cuda, cuda:1 or mps; the fastest present if left out"
    )
    train.add(commands.add_parser("train", parents=[shared], help=train.train.__doc__))
    sample.add(
        commands.add_parser("sample", parents=[shared], help=sample.sample.__doc__)
    )
    listing.add(commands.add_parser("list", help=listing.show_list.__doc__))
    measure.add(commands.add_parser("measure", help=measure.measure_claims.__doc__))
    tokens.add(commands.add_parser("tokens", help=tokens.show_tokens.__doc__))
    return root


@contextmanager
def chosen_device(name: str | None) -> Iterator[None]:
    """While it lasts, `runtime.device()` is the device `name`; None leaves the choice
    as it is.
    """
    before = os.environ.get("MINILIB_DEVICE")
    if name is not None:
        from minilib import runtime  # torch: seconds, which --help need not wait for

        os.environ["MINILIB_DEVICE"] = str(runtime.device(name))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("MINILIB_DEVICE", None)
        else:
            os.environ["MINILIB_DEVICE"] = before


def main(arguments: list[str] | None = None) -> int:
    """Run one command. What the user can mend is one line on stderr and exit code 2,
    not a traceback; Ctrl-C is one line and exit code 130.
    """
    options = parser().parse_args(arguments)
    try:
        with chosen_device(getattr(options, "device", None)):
            options.run(options)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        # without the system's number of the error
        print("minilib:", NUMBER.sub("", str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        said = f": {stopped}" if stopped.args else ""
        print(f"minilib: interrupted{said}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

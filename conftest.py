"""What every test run needs, set before torch is imported and before a chapter's kernel
starts.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from book.tools.common import chapters

ROOT = Path(__file__).parent
# a reader's own notebooks beside the chapters are no tests
collect_ignore = sorted({*ROOT.glob("chapters/*.ipynb")} - {*chapters()})

# Two workers share the machine, so each takes one thread: two teams of threads on busy
# cores can be very slow.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("MINILIB_BUDGET", "quick")
os.environ["MINILIB_PRECISION"] = "float32"  # the same on every processor
# else jupyter_core warns in every worker
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Root the path of nbval's sanitising file, which nbval would look up from the
    current directory.
    """
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(
            config.rootpath / "tests" / "nbval_sanitize.cfg"
        )


def file_of(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, by what `make budgets` measured: so no worker is left
    alone with a long one at the end.
    """
    known = json.loads((ROOT / "tests/bench/budgets.json").read_text())["now"]
    items.sort(key=lambda item: -known.get(file_of(item), 0.0))


SECONDS: dict[str, float] = defaultdict(float)  # core-seconds of each file's tests


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count what a test costs, its finished children too."""
    before = sum(os.times()[:4])
    done = yield
    SECONDS[file_of(item)] += sum(os.times()[:4]) - before
    return done


def pytest_sessionfinish() -> None:
    """Tell `make budgets`, when it asks for it: a file from each worker."""
    if "CORE_SECONDS" in os.environ:
        file = Path(os.environ["CORE_SECONDS"]) / f"{os.getpid()}.json"
        file.write_text(json.dumps(SECONDS))

"""What every test run needs, set before torch is imported and before a chapter's kernel
starts.
"""

import os

import pytest

# Two workers share the machine, so each takes one thread: two teams of threads on busy
# cores can be very slow.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("MINILIB_BUDGET", "quick")
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

"""Settings and fixtures that several tests share."""

import pytest
from hypothesis import settings

# No deadline: these machines are shared. The examples are the same in every run, so
# that a failure can be repeated.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The test runs in an empty folder, on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINILIB_DEVICE", "cpu")
    return tmp_path

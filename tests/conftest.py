"""Settings and fixtures that several tests share."""

from hypothesis import settings

# No deadline: these machines are shared. The examples are the same in every run, so
# that a failure can be repeated.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

"""The commands of `python -m minilib`, one module each."""

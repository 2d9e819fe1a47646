"""Published checkpoints under our names: maps of keys, a module a family."""

"""People: drawn in four styles, told in captions, and checked."""

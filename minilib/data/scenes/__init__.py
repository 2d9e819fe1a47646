"""Scenes: drawn, told in captions, and checked."""

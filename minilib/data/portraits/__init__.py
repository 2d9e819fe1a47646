"""Portraits: drawn, told in captions, and checked."""

"""Emoji as a grid: 935 concepts, each drawn in six styles."""

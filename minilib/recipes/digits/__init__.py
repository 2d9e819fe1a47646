"""Recipes of the systems that learn from handwritten digits."""

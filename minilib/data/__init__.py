"""Data sets. Each returns plain tensors, pictures in [-1, 1]; nothing is ever
downloaded.
"""

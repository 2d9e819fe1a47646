"""Data sets: plain tensors, pictures in [-1, 1]; nothing is ever downloaded."""

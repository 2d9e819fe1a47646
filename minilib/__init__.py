"""minilib: the small tested library under the book *Drawn from Noise*.

Import what you need by concept, `from minilib.train import fit`; importing the package
itself loads nothing heavy.
"""

__version__ = "0.1.0"

"""The systems of the book, a module each."""

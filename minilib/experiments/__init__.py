"""What the book claims, measured: one module a chapter, one function a claim."""

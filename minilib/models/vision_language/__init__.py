"""Models that put into words what a picture shows, or answer questions about it."""

"""DALL·E 2 (unCLIP): from a caption to an embedding, and from that to a picture."""

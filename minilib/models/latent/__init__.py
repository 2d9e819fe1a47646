"""Latent diffusion: pictures made small by an autoencoder, and drawn there."""

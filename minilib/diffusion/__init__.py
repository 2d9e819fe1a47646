"""Diffusion: schedules, losses and samplers, as functions over any denoiser."""

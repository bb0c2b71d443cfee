"""Restoring pictures of low quality with a diffusion model's own knowledge (after StableSR, arXiv 2305.07015)."""

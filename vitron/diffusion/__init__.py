"""The diffusion package of the model library."""

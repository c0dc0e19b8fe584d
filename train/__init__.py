"""Training: data, losses in loops, checkpoints and recipes."""

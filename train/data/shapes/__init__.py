"""The Shapes world: procedural pictures with exact ground truth, needing numpy and Pillow only."""

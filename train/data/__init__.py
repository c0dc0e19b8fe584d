"""Training data: the procedural Shapes world and readers of real datasets."""

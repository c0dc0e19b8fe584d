"""The evaluation package of the model library."""

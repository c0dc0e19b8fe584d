"""The specialists package of the model library."""

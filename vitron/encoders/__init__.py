"""The encoders package of the model library."""

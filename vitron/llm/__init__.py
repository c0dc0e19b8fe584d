"""The llm package of the model library."""

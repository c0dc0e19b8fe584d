"""VITRON: the model library. It knows neither Ray nor HTTP."""

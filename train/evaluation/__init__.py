"""Scoring the assistant on held-out Shapes samples: predictions to a file, then scores from it."""

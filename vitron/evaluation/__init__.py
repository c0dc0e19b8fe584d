"""Scores as pure functions: predictions and targets in, numbers out. No model is loaded and no file read here.

One family a file: `reference_captions`, `meteor`, `captions` (attributes), `segmentation`, `grounding` (boxes),
`detection`, `tubes` (video grounding), `vos`, `vqa`, `generation` (contents), `frechet`, `clip_scores`, `pixels`;
`features` for pluggable extractors, `bootstrap` for intervals, `table` for the results. docs/evaluation.md says which
protocol each follows, what it was checked against, and what its numbers can be compared with.
"""

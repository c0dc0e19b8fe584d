"""Readers of public data sets in their official formats, one data set (or family) a file.

Every reader builds an index first and decodes media when a sample is asked for. Files whose names begin with an
underscore are what readers share. `train.data.sources` opens a data set by name.
"""

"""The paper's analyses (§6, Fig. 4 to 6, "w/o syng.") at tiny scale: short runs, rows in a file, tables and plots."""

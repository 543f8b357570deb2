"""The only truth: what fits, runs and measurements leave on disk, and how it gets there whole."""

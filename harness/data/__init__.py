"""Data files to columns: one file a format, no framework."""

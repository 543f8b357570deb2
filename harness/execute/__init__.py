"""Who works a stage where."""

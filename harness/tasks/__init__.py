"""Task types: one file each, from raw examples to numpy and from logits to metrics."""

"""PyTorch: fits transformers and static embeddings, and predicts with their artifacts."""

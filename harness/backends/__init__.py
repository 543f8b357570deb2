"""Frameworks that fit and runtimes that predict: one folder each, the only places that import
them."""

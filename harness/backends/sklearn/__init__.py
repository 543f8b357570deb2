"""Baselines without a neural network: TF-IDF with logistic regression, and the majority class."""

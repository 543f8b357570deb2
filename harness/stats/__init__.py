"""How sure we are: plain functions, arrays in, numbers out. No I/O, no framework.

Conventions shared by all modules here:

- A metric is a ratio of sums, sum(num) / sum(den), over the test examples. Accuracy has
  ``num`` 0 or 1 and ``den`` 1; entity-level F1 has ``num = 2 TP`` and ``den = 2 TP + FP + FN``.
- ``num`` and ``den`` are (seeds, examples); a score is the mean over seeds of the ratios.
- ``clusters`` is (examples,) integer codes; examples of one document share a code, and
  clusters, not examples, are taken to be independent draws.
"""

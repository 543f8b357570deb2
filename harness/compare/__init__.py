"""Did anything get worse, and are we sure? Pure functions of two sides' records.

`sides` reads a side, `judge` joins rows by ``row_id`` and applies one rule (`rule`) to quality,
speed, memory, energy and exact facts; `causes` says what else changed; ``render_*`` print it.
"""

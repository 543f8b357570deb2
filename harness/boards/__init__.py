"""Leaderboards: pure functions of records, by code that imports no framework.

collect   records -> rows (one flat mapping each) and their per-example outcomes
rank      rows -> ranks of fits, ties, changes of score between runtimes
page      ranked rows -> what a reader sees: headlines, tables, notes
render_*  page or rows -> Markdown, HTML, CSV, JSON; terminal: the same tables on a console
board     all of it, into files
"""

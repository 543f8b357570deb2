"""The board in the README: sentences and tables of the reference board, cut to fewer columns.

``python -m tests.readme_board`` writes it anew, after the reference records have changed.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOARD = ROOT / "results" / "reference" / "nlp" / "leaderboard.md"
BEGIN, END = "<!-- board:begin -->\n", "<!-- board:end -->"
TASK = "## Reuters R8 (news topics)"
#: what a reader needs to see what a board is, in the width of a page
COLUMNS = (
    ("rank", "model", "recipe", "framework", "score [95% interval]", "behind best, points",
     "tied with best?", "params", "fit time, s"),
    ("fit", "runtime", "score change, points [95%]", "same predictions, %",
     "max rel. logit diff.", "p50, ms", "examples/s", "memory, MB", "size, MB"),
)  # fmt: skip


def block() -> str:
    """Markdown: one sentence a task, then the first task's fits and their runtimes."""
    text = BOARD.read_text()
    sentences = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    section = text.partition(f"{TASK}\n")[2].partition("\n## ")[0]
    found = [part for part in section.split("\n\n") if part.startswith("| ")]
    tables = [_cut(table, names) for table, names in zip(found, COLUMNS, strict=False)]
    return "\n\n".join(["\n".join(sentences), *tables])


def _cut(table: str, names: tuple[str, ...]) -> str:
    """A Markdown table's columns of these names, as they stand there."""
    lines = [line.strip("|").split("|") for line in table.splitlines()]
    places = [[cell.strip() for cell in lines[0]].index(name) for name in names]
    return "\n".join(f"|{'|'.join(line[i] for i in places)}|" for line in lines)


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{block()}\n\n{END}{after}")


if __name__ == "__main__":
    main()

"""A board from flat rows alone, whose statistics are computed already: no records needed.

For rows that come from elsewhere, or are too many for one page: a million of them render as a CSV
and as a page of the best `harness.boards.explorer.MAX_ROWS`, which says what it leaves out.
Rows stay columns (pyarrow) until those of the page are chosen; as dicts they would fill memory.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.boards.collect import Records
from harness.boards.definition import Definition, bound_of
from harness.boards.evidence import Evidence
from harness.boards.explorer import MAX_ROWS, shares
from harness.boards.keys import FLAGS, KEYS, LISTS, NUMBERS, TEXTS
from harness.boards.page import Page, build_page
from harness.boards.render_html import render_html
from harness.boards.render_parquet import columns_to_csv, table_of
from harness.choose.form import make_form
from harness.errors import RequestError
from harness.records.files import whole_file, write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".json")

#: without these a row is no row of a board
_NEEDED = ("row_id", "task", "model", "score")
#: without a value in each of these it cannot be told from others
_NAMING = ("row_id", "task", "model")


def read_rows(path: Path) -> pa.Table:
    """Rows as ``leaderboard.parquet``, ``.csv`` or ``.json`` hold them; `RequestError` if not."""
    import pyarrow as pa

    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                table = file.read()
        elif path.suffix == ".csv":
            import pyarrow.csv as csv

            texts = csv.ConvertOptions(column_types=dict.fromkeys(TEXTS | LISTS, pa.string()))
            table = csv.read_csv(path, convert_options=texts)
        else:
            rows = json.loads(path.read_bytes())
            table = table_of([{**dict.fromkeys(KEYS), **row} for row in rows])
    except (OSError, ValueError, TypeError, RecursionError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(f"{path}: cannot be read as a board's rows: {reason}") from None
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise RequestError(
            f"{path}: no rows of a board: column(s) {', '.join(missing)} missing; "
            "see leaderboard.parquet for what a row holds"
        )
    for name in table.column_names:
        if wrong := _fault(name, table[name]):
            raise RequestError(f"{path}: column {name!r} {wrong}")
    return table


def _fault(name: str, column: pa.ChunkedArray) -> str:
    """What is wrong with a column of that name; empty for a good one, and for one we do not read.

    Columns without any value may be of any type.
    """
    import pyarrow as pa

    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if name in _NAMING and column.null_count:
        return "has empty cells"
    if column.null_count == len(column):
        return ""
    if name in NUMBERS and not is_number:
        return f"holds {kind}, no numbers"
    if name in FLAGS and not pa.types.is_boolean(kind):
        return f"holds {kind}, neither true nor false"
    if name in TEXTS and not is_text:
        return f"holds {kind}, no text"
    if name in LISTS and not (is_text or (pa.types.is_list(kind) and _of_text(kind))):
        return f"holds {kind}, neither lists of text nor text"
    return ""


def _of_text(kind: pa.ListType) -> bool:
    import pyarrow as pa

    return any(is_a(kind.value_type) for is_a in (pa.types.is_string, pa.types.is_null))


def best_rows(table: pa.Table, definition: Definition) -> list[dict[str, Any]]:
    """The best of each task by their ``rank``, else by their score, at most `MAX_ROWS` in all."""
    chosen = _best(table, definition)
    rows = [{**dict.fromkeys(KEYS), **row} for row in table.take(chosen).to_pylist()]
    for row in rows:
        for key in ("runs", "pareto"):  # lists, which a CSV joins by spaces
            row[key] = row[key].split() if isinstance(row[key], str) else row[key] or []
        row["recipe"] = row["recipe"] or "baseline"
        row["framework"] = row["framework"] or "sklearn"
        row["status"] = row["status"] or "ok"
    return rows


def page_of(
    rows: list[dict[str, Any]], definition: Definition, title: str, total: int, command: str = ""
) -> Page:
    """The page of some rows of ``total``. ``command``: what made it, for those who want to do it
    again."""
    plan = {
        "suite": title, "title": title, "rows": [],
        "models": {row["model"]: {"licence": row["weights_licence"]} for row in rows},
        "tasks": {
            row["task"]: {"primary": row["score_name"], "licence": row["data_licence"]}
            for row in rows
        },
        "command": command or f"harness board {title}.parquet --to DIR",
    }  # fmt: skip
    return build_page(Records(plan, (), {}), rows, definition, total=total)


def write_flat(
    table: pa.Table, folder: Path, definition: Definition, title: str, command: str = ""
) -> list[Path]:
    """``leaderboard.html`` and ``leaderboard.csv`` in a folder, each whole or not at all."""
    page, csv = folder / "leaderboard.html", folder / "leaderboard.csv"

    def write_csv() -> None:
        with whole_file(csv) as file:
            columns_to_csv(table, file)

    with ThreadPoolExecutor(1) as pool:  # beside the page: pyarrow leaves the interpreter free
        writing = pool.submit(write_csv)
        rows = best_rows(table, definition)
        shown = page_of(rows, definition, title, len(table), command)
        evidence = Evidence({}, 0, recorded=False)
        html = render_html(shown, definition, evidence, make_form(rows))
        write_bytes(page, html.encode())
        writing.result()
    return [page, csv]


def _best(table: pa.Table, definition: Definition) -> np.ndarray:
    """Positions of at most `MAX_ROWS` rows: tasks in their order, in each the best first."""
    keep = np.ones(len(table), bool)
    for name, wanted in definition.filters.items():
        key, bound = bound_of(name)
        if key not in table.column_names:
            continue
        if bound:
            values = _floats(table, key)
            keep &= values <= wanted if bound == "max" else values >= wanted
        else:
            keep &= _among(table, key, wanted if isinstance(wanted, list) else [wanted])
    codes = np.asarray(table["task"].combine_chunks().dictionary_encode().indices.to_pylist())
    rank = _floats(table, "rank")
    order = np.lexsort((-_floats(table, "score"), rank, codes))  # NaN sorts last
    order = order[keep[order]]
    _, counts = np.unique(codes[order], return_counts=True)
    taken = shares([int(count) for count in counts], MAX_ROWS)
    starts = np.cumsum(counts) - counts
    parts = [order[a : a + n] for a, n in zip(starts, taken, strict=True)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _floats(table: pa.Table, key: str) -> np.ndarray:
    import pyarrow as pa

    if key not in table.column_names:
        return np.full(len(table), np.nan)
    column = table[key].combine_chunks().cast(pa.float64()).fill_null(np.nan)
    return np.from_dlpack(column)


def _among(table: pa.Table, key: str, wanted: list[Any]) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[key]
    try:
        found = pc.is_in(column, value_set=pa.array(wanted).cast(column.type))
    except pa.ArrowException:
        return np.zeros(len(table), bool)
    return np.asarray(found.cast(pa.uint8()).combine_chunks().to_numpy(zero_copy_only=False), bool)

"""``leaderboard.parquet``: the flat rows, typed, for analysts; and columns as CSV, fast."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from harness.boards.keys import KEYS
from harness.records.files import finite

if TYPE_CHECKING:
    import pyarrow as pa

#: a spreadsheet would run a cell that begins so as a formula
FORMULA = ("=", "+", "-", "@", "\t", "\r")


#: rows of a piece of CSV: about 50 MB of text
_PIECE = 50_000
_THREADS = 8


def render_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One row a row, null for what is not known; the same rows give the same bytes."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table_of(rows), buffer, compression="zstd")
    return buffer.getvalue()


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Flat rows as columns, in the contract's order; columns without any value are floats.

    By way of JSON: pyarrow's readers of text load no pandas, its conversion of lists does.
    """
    import pyarrow as pa
    import pyarrow.json as pj

    plain = [{key: finite(row[key]) for key in KEYS} for row in rows]
    texts = [key for key in KEYS if any(isinstance(row[key], str) for row in plain)]
    lines = "\n".join(json.dumps(row) for row in plain or [dict.fromkeys(KEYS)]).encode()
    given = pj.ParseOptions(explicit_schema=pa.schema([(key, pa.string()) for key in texts]))
    blocks = pj.ReadOptions(block_size=max(len(lines) + 1, 1 << 20))
    table = pj.read_json(pa.BufferReader(lines), blocks, given).select(list(KEYS))
    fields = [f.with_type(pa.float64()) if pa.types.is_null(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields)).slice(0, len(plain))


def columns_to_csv(table: pa.Table, file: BinaryIO) -> None:
    """What `harness.boards.render_csv` writes, from columns and on all cores, into an open file.

    pyarrow leaves the interpreter free while it formats, so threads are enough; only as many
    pieces as there are threads are held at a time.
    """
    import os
    from concurrent.futures import ThreadPoolExecutor

    threads = min(os.cpu_count() or 1, _THREADS)
    starts = range(0, max(len(table), 1), _PIECE)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(starts), threads):
            pieces = [table.slice(start, _PIECE) for start in starts[first : first + threads]]
            heads = [first == 0 and number == 0 for number in range(len(pieces))]
            for buffer in pool.map(_csv_piece, pieces, heads):
                file.write(buffer)


def _csv_piece(table: pa.Table, head: bool) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_list(column.type):
            column = pc.binary_join(column, " ")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _disarmed(column)
        columns[name] = column
    buffer = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=head, quoting_style="needed", quoting_header="needed")
    csv.write_csv(pa.table(columns), buffer, options)
    return buffer.getvalue()


def _disarmed(column: Any) -> Any:
    """A quote before what a spreadsheet would run."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first = pc.utf8_slice_codeunits(column, 0, 1)
    unsafe = pc.is_in(first, value_set=pa.array(FORMULA, first.type))
    if not pc.any(unsafe).as_py():
        return column
    return pc.if_else(unsafe, pc.binary_join_element_wise("'", column, ""), column)

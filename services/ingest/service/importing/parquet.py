"""Rows of Parquet, a few thousand at a time. Only who has such a file needs pyarrow: the extra `files`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from services.ingest.domain.rows import Row, mapped
from services.ingest.errors import NotImported, Unfinished
from services.ingest.service.importing.opening import Opened
from services.ingest.service.importing.options import Options
from services.ingest.service.importing.reading import Table, bound, left_out

BATCH = 2_000
"""Rows that are in memory as columns at one moment."""

BUFFER = 1024 * 1024
"""Bytes read at once of a column. Without it pyarrow reads all of the column in a row group, which may be the file."""


def parquet(opened: Opened, options: Options) -> Table:
    """A row for each of the file's rows, of the columns that are wanted only. Raises NotImported."""
    if opened.size is None:
        raise NotImported("Parquet can't be read from a pipe, because it begins at its end: give the file's name")
    try:
        file = ParquetFile(opened.file, buffer_size=BUFFER, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise NotImported(f"this is no Parquet file: {error}") from None
    names = file.schema_arrow.names
    mapping = bound(options, names)
    wanted = names if mapping.rest is not None else [name for name in names if name in mapping.used]
    table = Table(iter(()), lambda: 0, file.metadata.num_rows, unit="row", mapping=mapping)
    table.left_out = left_out(mapping, names)
    count = _Count()
    table.rows = count.counted(mapped(cells, mapping, options.notation) for cells in _cells(file, wanted))
    table.read = lambda: count.number
    return table


class _Count:
    def __init__(self) -> None:
        self.number = 0

    def counted(self, rows: Iterator[Row]) -> Iterator[tuple[int, Row]]:
        for row in rows:
            self.number += 1
            yield self.number, row


def _cells(file: ParquetFile, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        for batch in file.iter_batches(batch_size=BATCH, columns=list(wanted)):
            columns = [_values(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                yield dict(zip(batch.schema.names, cells, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise Unfinished(f"the file is damaged ({error}): copy it here once more") from None


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # Python knows no nanoseconds, and refuses those that are not 0
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = _as_text(column)
    values: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    return values


def _as_text(column: pa.Array) -> pa.Array:
    """Some write text without saying that it is text."""
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        return column

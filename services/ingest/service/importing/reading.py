"""Rows of NDJSON and CSV, each with the line it begins in.

CSV is read by Python's own module rather than by pyarrow: that knows the line of every row, so that a rejected one can
be found; a row that is wrong is one row and not the end of the file; every cell stays the text that it is; and it is as
fast, for pyarrow's columns would have to be made rows again.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.ingest.domain.columns import Mapping, by_name
from services.ingest.domain.rows import Row, mapped, mapped_line, row_of_line, unreadable
from services.ingest.errors import NotImported, Unfinished
from services.ingest.service.importing.opening import Opened
from services.ingest.service.importing.options import Options
from shared.events import Reason

LONGEST = 1024 * 1024
"""Bytes read of one line. A call may have 32 KB; a line beyond that is no line, but perhaps a file of another kind."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

DELIMITERS = (",", ";", "\t", "|")


@dataclass
class Table:
    """A file's rows, each with its number. `unit` says what is numbered, `left_out` which columns went nowhere so far.

    `total` is how much there is to read, None where nobody knows, and `read` how much of that has been read.
    """

    rows: Iterator[tuple[int, Row]]
    read: Callable[[], int]
    total: int | None
    unit: str = "line"
    mapping: Mapping = field(default_factory=Mapping)
    left_out: set[str] = field(default_factory=set)


def bound(options: Options, names: Sequence[str]) -> Mapping:
    """The mapping of a file with these columns. Raises NotImported where one is missing, or none means anything."""
    mapping = options.mapping(by_name(names))
    if missing := sorted({each.column for each in mapping.fields} - set(names)):
        raise NotImported(f"there is no column {', '.join(missing)}; the file has {', '.join(names)}")
    if not mapping.fields:
        raise NotImported(
            f"no column is named after a field of a call: say which is which, as in --map userId={names[0]}; "
            f"the file has {', '.join(names)}"
        )
    return mapping


def left_out(mapping: Mapping, names: Sequence[str]) -> set[str]:
    return set() if mapping.rest is not None else set(names) - mapping.used


# --- NDJSON ----------------------------------------------------------------------------------------------------------


def ndjson(opened: Opened, options: Options) -> Table:
    """A row a line. A line is a call as it is, unless it is said how to make one of it."""
    table = Table(iter(()), opened.read, opened.size)
    if not options.mapped:
        table.rows = ((number, row_of_line(line)) for number, line in _lines(opened))
    else:
        table.mapping = options.mapping(by_name(["timestamp", "originalTimestamp"]), whole=True)
        table.rows = _mapped_lines(opened, options, table)
    return table


def _mapped_lines(opened: Opened, options: Options, table: Table) -> Iterator[tuple[int, Row]]:
    mapping, notation = table.mapping, options.notation
    known = {column.partition(".")[0] for column in mapping.used}
    for number, line in _lines(opened):
        row, cells = mapped_line(line, mapping, notation)
        if mapping.rest is None:
            table.left_out |= cells.keys() - known
        yield number, row


def _lines(opened: Opened) -> Iterator[tuple[int, bytes]]:
    """Lines that hold anything, with their numbers; of one that has no end, its beginning."""
    number, stream = 0, opened.stream
    while line := stream.readline(LONGEST):
        number += 1
        rest = line
        while len(rest) == LONGEST and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST)
        line = line.removeprefix(BYTE_ORDER_MARK).strip() if number == 1 else line.strip()
        if number == 1 and line.startswith(b"["):
            raise NotImported("this is one JSON array: write each call on a line of its own (jq -c '.[]' does that)")
        if line:
            yield number, line


# --- CSV -------------------------------------------------------------------------------------------------------------


def comma_separated(opened: Opened, options: Options) -> Table:
    """A row of cells for each record. The first line names the columns."""
    lines = _Lines(_text(opened, options.encoding or "utf-8"))
    delimiter = options.delimiter or _delimiter(lines)
    records = _records(lines, delimiter)
    names = _names(records)
    mapping = bound(options, names)
    return Table(
        rows=_rows(records, names, mapping, options),
        read=opened.read,
        total=opened.size,
        mapping=mapping,
        left_out=left_out(mapping, names),
    )


def _text(opened: Opened, encoding: str) -> io.TextIOWrapper:
    """What is not in this encoding does not end the file: it is found again in the row that it stands in."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # which is the same, without the mark that Excel puts before everything
    return io.TextIOWrapper(opened.stream, encoding, errors="surrogateescape", newline="")


class _Lines:
    """The lines of a text, as the reader of records takes them, with those of the record in hand kept."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = text
        self.number = 1  # of the line in which the record in hand begins
        self.record: list[str] = []
        self.again: deque[str] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else self._line()
        if not line:
            raise StopIteration
        self.record.append(line)
        return line

    def _line(self) -> str:
        try:
            return self.text.readline(LONGEST)
        except UnicodeDecodeError as error:  # of an encoding of several bytes a letter, where it can't be put aside
            raise Unfinished(f"line {self.number} is not in {self.text.encoding}: name another --encoding") from error

    def done(self) -> str:
        """The record in hand, as it stands in the file; the next one begins after it."""
        written = "".join(self.record)
        self.number += len(self.record)
        self.record.clear()
        return written

    def only_first(self) -> str:
        """As `done`, where the record in hand turns out to be its first line only."""
        first, *others = self.record
        self.again.extendleft(reversed(others))
        self.record = [first]
        return self.done()


def _delimiter(lines: _Lines) -> str:
    """The sign that separates the columns' names, as far as one can see: the one there is most of."""
    first = next(lines, "")
    lines.again.append(first)
    lines.record.clear()
    return max(DELIMITERS, key=first.count)


_Record = tuple[int, Sequence[str] | None, str]
"""The line it begins in, its cells, or None where they can't be told apart, and what stands there."""


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record]:
    """All records. One that can't be read ends with its first line: a stray quote must not swallow what follows."""
    while True:
        try:
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                number = lines.number
                written = lines.done()
                if cells:
                    yield number, cells, written
        except csv.Error:
            yield lines.number, None, lines.only_first()
        else:
            return


def _names(records: Iterator[_Record]) -> list[str]:
    _, cells, _ = next(records, (1, None, ""))
    if cells is None:
        raise NotImported("the first line has to name the columns; there is none, or it can't be read as CSV")
    names = [cell.strip() for cell in cells]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise NotImported(f"the first line names {', '.join(twice)} twice: give each column a name of its own")
    return names


def _rows(
    records: Iterator[_Record], names: Sequence[str], mapping: Mapping, options: Options
) -> Iterator[tuple[int, Row]]:
    notation = options.notation
    for number, cells, written in records:
        if cells is None:
            yield (
                number,
                _refused(written, "malformed_csv", "a quote in this row is opened, or closed, where none can be"),
            )
        elif len(cells) != len(names):
            yield (
                number,
                _refused(written, "wrong_columns", f"{len(cells)} cells, where {len(names)} columns are named"),
            )
        else:
            yield number, mapped(dict(zip(names, cells, strict=True)), mapping, notation)


def _refused(written: str, code: str, message: str) -> Row:
    return unreadable(written.rstrip("\r\n").encode("utf-8", "surrogateescape"), Reason("$", code, message))

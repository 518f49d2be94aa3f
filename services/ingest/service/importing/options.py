"""What a person asks for: which columns mean what, and how the file writes things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from services.ingest.domain import cells, columns
from services.ingest.domain.columns import Constant, Field, Mapping
from services.ingest.domain.moments import moment
from services.ingest.errors import NotImported

Format = Literal["ndjson", "csv", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".zst")

T = TypeVar("T")


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same in a file, for `--mapping`: `map` and `set` as `{"properties.total:number": "amount"}`."""

    map: dict[str, str] = {}
    set: dict[str, Any] = {}
    rest: str | None = None
    zone: str | None = None
    decimal: str | None = None
    time_format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    format: str | None = None
    since: str | None = None


@dataclass(frozen=True)
class Options:
    """All that decides what rows become, and so what has to stay the same when an import goes on."""

    source: str
    fields: tuple[Field, ...] = ()
    constants: tuple[Constant, ...] = ()
    rest: columns.Path | None = None
    zone: str | None = None
    decimal: str | None = None
    time_format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    format: Format | None = None
    since: str | None = None

    @property
    def notation(self) -> cells.Notation:
        return cells.Notation(_zone(self.zone), self.decimal, self.time_format)

    @property
    def earliest(self) -> datetime | None:
        """Rows from before are left out. Raises NotImported."""
        try:
            at = cells.value(self.since, "time", cells.Notation(_zone(self.zone)))
        except ValueError as error:
            raise NotImported(f"--since: {error}") from None
        return moment(at) if at else None

    @property
    def mapped(self) -> bool:
        """Whether rows are anything else than calls as they are."""
        return bool(self.fields or self.constants or self.rest or self.zone or self.time_format)

    def mapping(self, fields: Iterable[Field], *, whole: bool = False) -> Mapping:
        """With the columns that were named, else with `fields`. Raises NotImported."""
        try:
            constant = {each.path for each in self.constants}
            chosen = self.fields or tuple(field for field in fields if field.path not in constant)
            return Mapping(chosen, self.constants, self.rest, whole=whole and not self.fields)
        except ValueError as error:
            raise NotImported(str(error)) from None

    def format_of(self, name: str) -> Format:
        """By the file's name, where the format was not told. Raises NotImported."""
        if self.format is not None:
            return self.format
        if name == "-":
            return "ndjson"
        suffixes = [suffix for suffix in Path(name.lower()).suffixes if suffix not in _COMPRESSED]
        if suffixes and suffixes[-1] in _SUFFIXES:
            return _SUFFIXES[suffixes[-1]]
        raise NotImported(f"{name}: its name does not tell its format: say --format {' or '.join(FORMATS)}")

    def told(self) -> dict[str, Any]:
        """As JSON would give it back, to be kept beside the file and compared."""
        told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(asdict(self)))
        return told


def options(
    source: str, *, map: Sequence[str] = (), set: Sequence[str] = (), notes: Path | None = None, **spellings: str | None
) -> Options:
    """What the command line asks for, over what stands in the file `notes`. Raises NotImported."""
    noted = _noted(notes) if notes else Notes()
    fields = {field.path: field for field in map_all(_field, (f"{where}={name}" for where, name in noted.map.items()))}
    fields |= {field.path: field for field in map_all(_field, map)}
    constants = {each.path: each for each in map_all(_constant_noted, noted.set.items())}
    constants |= {each.path: each for each in map_all(_constant, set)}
    names = ("rest", "zone", "decimal", "time_format", "delimiter", "encoding", "format", "since")
    chosen = {name: spellings.get(name) or getattr(noted, name) for name in names}
    rest = chosen.pop("rest")
    made = Options(source, tuple(fields.values()), tuple(constants.values()), **chosen)  # type: ignore[arg-type]
    return _checked(replace(made, rest=_tried(columns.path, rest) if rest else None))


def _checked(options: Options) -> Options:
    """Raises NotImported where an option has a value that it can't have."""
    _ = options.notation, options.earliest, options.mapping(())
    if options.decimal not in (None, ".", ","):
        raise NotImported(f"--decimal is . or , and not {options.decimal!r}")
    if options.format is not None and options.format not in FORMATS:
        raise NotImported(f"--format is one of {', '.join(FORMATS)}, and not {options.format!r}")
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise NotImported(f"--delimiter is one sign, and not {options.delimiter!r}")
    try:
        "".encode(options.encoding or "utf-8")
    except LookupError:
        raise NotImported(f"--encoding {options.encoding}: there is no such encoding") from None
    return options


def _noted(notes: Path) -> Notes:
    try:
        return msgspec.json.decode(notes.read_bytes(), type=Notes)
    except (OSError, ValueError) as error:
        raise NotImported(f"--mapping {notes}: {error}") from None


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotImported(f"--zone {name}: there is no such time zone; one is Europe/Istanbul") from None


def map_all(make: Callable[[Any], T], given: Iterable[Any]) -> list[T]:
    return [_tried(make, each) for each in given]


def _tried(make: Callable[[Any], T], given: Any) -> T:
    try:
        return make(given)
    except ValueError as error:
        raise NotImported(str(error)) from None


def _field(text: str) -> Field:
    """`properties.total:number=amount`"""
    where, sign, column = text.partition("=")
    if not sign or not column:
        raise ValueError(f"--map {text!r}: write a field, =, and a column, as in userId=customer_no")
    path, kind = columns.typed_path(where)
    return Field(path, column, kind)


def _constant(text: str) -> Constant:
    """`context.channel=store`, and `properties.weight:number=2`"""
    where, sign, word = text.partition("=")
    if not sign:
        raise ValueError(f"--set {text!r}: write a field, =, and its value, as in type=track")
    path, kind = columns.typed_path(where)
    return Constant(path, cells.value(word, kind, cells.Notation()))


def _constant_noted(item: tuple[str, Any]) -> Constant:
    path, kind = columns.typed_path(item[0])
    return Constant(path, cells.value(item[1], kind, cells.Notation()))

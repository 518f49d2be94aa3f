"""Rows of files become calls: by their columns, with values that are what the file means, and with ids that last."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.cells import Kind, Notation, value
from services.ingest.domain.columns import Constant, Field, Mapping, by_name, path, typed_path
from services.ingest.domain.judgement import Accepted, Arrival, Refused
from services.ingest.domain.rows import NAMESPACE, Row, digest, judged, located, mapped, row_id, row_of_line
from services.ingest.domain.sources import Source
from services.ingest.errors import NotImported
from services.ingest.service.importing.occurrences import Occurrences
from services.ingest.service.importing.opening import Opened
from services.ingest.service.importing.options import Options, options
from services.ingest.service.importing.reading import comma_separated, ndjson

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ARRIVAL = Arrival(source=Source(name="pos", usual="store"), received_at=NOW)
PLAIN = Notation()

SALES = Mapping(
    (
        Field(("userId",), "customer_no"),
        Field(("timestamp",), "sold_at", "time"),
        Field(("properties", "total"), "amount", "number"),
    ),
    (Constant(("type",), "track"), Constant(("event",), "Order Completed"), Constant(("context", "channel"), "store")),
)


def call(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.text)
    return found


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"map": ["userID=customer_no"]}, "did you mean userId?"),
        ({"map": ["userId"]}, "--map 'userId': write a field, =, and a column"),
        ({"set": ["type"]}, "--set 'type': write a field, =, and its value"),
        ({"set": ["properties.n:number=many"]}, "expected a number, got 'many'"),
        ({"map": ["event=what"], "set": ["event=Order Completed"]}, "event is given twice"),
        ({"rest": "userId"}, "not into userId"),
        ({"zone": "Europe/Konstantinopel"}, "there is no such time zone"),
        ({"decimal": ";"}, "--decimal is . or ,"),
        ({"delimiter": "::"}, "--delimiter is one sign"),
        ({"format": "xls"}, "--format is one of ndjson, csv, parquet"),
        ({"encoding": "utf-88"}, "there is no such encoding"),
        ({"notes": Path("none.json")}, "--mapping none.json"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_in_words(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(NotImported, match=re.escape(said)):
        options("pos", **asked)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.csv", "csv"),
        ("a.tsv.gz", "csv"),
        ("A.JSONL.ZST", "ndjson"),
        ("sales.2024.parquet", "parquet"),
        ("-", "ndjson"),
    ],
)
def test_the_name_of_a_file_tells_its_format(name: str, format: str) -> None:
    assert Options("pos").format_of(name) == format


@pytest.mark.parametrize("name", ["sales.xls", "sales", "sales.gz"])
def test_a_name_that_does_not_is_refused(name: str) -> None:
    with pytest.raises(NotImported, match="say --format ndjson or csv or parquet"):
        Options("pos").format_of(name)


def test_files_that_are_something_else_are_refused() -> None:
    with pytest.raises(NotImported, match="the first line has to name the columns"):
        read(b"")
    with pytest.raises(NotImported, match="names total twice"):
        read(b"userId,total,total\n")
    array = io.BytesIO(b'[{"type": "page"}]')
    with pytest.raises(NotImported, match="one JSON array"):
        list(ndjson(Opened(array, 18, array), Options("pos")).rows)


# --- from columns to fields ------------------------------------------------------------------------------------------


def test_a_row_becomes_the_call_that_its_columns_say() -> None:
    row = mapped({"customer_no": "17", "amount": "12.50", "sold_at": "2024-03-01T10:00:00Z", "till": "4"}, SALES, PLAIN)
    assert call(row) == {
        "type": "track",
        "event": "Order Completed",
        "userId": "17",
        "timestamp": "2024-03-01T10:00:00.000Z",
        "properties": {"total": 12.5},
        "context": {"channel": "store"},
    }
    verdict = judged(row, ARRIVAL, "an-id")
    assert isinstance(verdict, Accepted)
    assert verdict.touchpoint.time == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert (verdict.touchpoint.id, verdict.touchpoint.data.channel) == ("an-id", "store")


def test_an_empty_cell_says_nothing() -> None:
    row = mapped({"customer_no": "17", "amount": "", "sold_at": None}, SALES, PLAIN)
    assert "timestamp" not in call(row)
    assert "properties" not in call(row)


def test_the_rest_goes_where_it_is_told_to_and_never_over_what_is_mapped() -> None:
    how = Mapping(SALES.fields, SALES.constants, rest=("properties",))
    row = mapped({"customer_no": "17", "amount": "1", "sold_at": "", "till": "4", "note": "", "": "x"}, how, PLAIN)
    assert call(row)["properties"] == {"till": "4", "total": 1}
    [reason] = mapped({"customer_no": "17", "amount": "1", "total": "2"}, how, PLAIN).reasons
    assert (reason.path, reason.code) == ("$.properties.total", "given_twice")


def test_rows_with_objects_inside_are_reached_by_dots_and_columns_with_dots_by_their_names() -> None:
    how = Mapping((Field(("userId",), "customer.no"),))
    assert call(mapped({"customer": {"no": 17}}, how, PLAIN)) == {"userId": 17}
    assert call(mapped({"customer.no": 17, "customer": {"no": 18}}, how, PLAIN)) == {"userId": 17}
    assert call(mapped({"customer": [17]}, how, PLAIN)) == {}


def test_constants_stand_over_what_a_call_says_itself() -> None:
    how = Mapping((), (Constant(("context", "channel"), "store"),), whole=True)
    row = mapped({"type": "page", "userId": "u", "context": {"channel": "web", "ip": "1"}}, how, PLAIN)
    assert call(row)["context"] == {"channel": "store", "ip": "1"}


def test_columns_named_after_fields_need_no_mapping() -> None:
    assert by_name(["userId", "timestamp", "properties.total:number", "till", "properties.total:money"]) == (
        Field(("userId",), "userId"),
        Field(("timestamp",), "timestamp", "time"),
        Field(("properties", "total"), "properties.total:number", "number"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("userID", "did you mean userId?"),
        ("total", "its fields are"),
        ("userId.no", "only context, integrations, properties, traits have fields inside"),
        ("properties..x", "is no field"),
        ("writeKey", "no field 'writeKey'"),
    ],
)
def test_a_field_that_no_call_has_is_refused_with_what_was_meant(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        path(text)


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="text, number, integer, boolean, time, json"):
        typed_path("properties.total:money")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mapping((Field(("event",), "a"), Field(("event",), "b"))), "event is given twice"),
        (lambda: Mapping((Field(("event",), "a"),), (Constant(("event",), "b"),)), "event is given twice"),
        (lambda: Mapping((), (Constant(("messageId",), "m"),)), "would be one event"),
        (lambda: Mapping(rest=("userId",)), "not into userId"),
    ],
)
def test_a_mapping_that_would_lose_something_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# --- values ----------------------------------------------------------------------------------------------------------

ISTANBUL = ZoneInfo("Europe/Istanbul")


@pytest.mark.parametrize(
    ("cell", "kind", "notation", "expected"),
    [
        ("12.50", "number", PLAIN, 12.5),
        (" -3 ", "number", PLAIN, -3),
        ("1e3", "number", PLAIN, 1000.0),
        ("1.234,50", "number", Notation(decimal=","), 1234.5),
        ("12,5", "number", Notation(decimal=","), 12.5),
        ("1,234,567", "number", Notation(decimal="."), 1_234_567),
        (Decimal("1.10"), "number", PLAIN, Decimal("1.10")),
        ("17.0", "integer", PLAIN, 17),
        (17.0, "integer", PLAIN, 17),
        (17.0, "text", PLAIN, "17"),
        ("017", "text", PLAIN, "017"),
        ("Yes", "boolean", PLAIN, True),
        ("0", "boolean", PLAIN, False),
        (True, "boolean", PLAIN, True),
        ("2024-03-01", "time", PLAIN, "2024-03-01T00:00:00.000Z"),
        ("2024-03-01 10:00:00", "time", Notation(ISTANBUL), "2024-03-01T07:00:00.000Z"),
        ("2024-03-01T10:00:00+01:00", "time", Notation(ISTANBUL), "2024-03-01T09:00:00.000Z"),
        ("1709287200", "time", Notation(ISTANBUL), "2024-03-01T10:00:00.000Z"),
        (1709287200123, "time", PLAIN, "2024-03-01T10:00:00.123Z"),
        ("01.03.2024 10:00", "time", Notation(ISTANBUL, times="%d.%m.%Y %H:%M"), "2024-03-01T07:00:00.000Z"),
        ("20240301100000", "time", Notation(times="%Y%m%d%H%M%S"), "2024-03-01T10:00:00.000Z"),
        (datetime(2024, 3, 1, 10), "time", Notation(ISTANBUL), "2024-03-01T07:00:00.000Z"),
        (datetime(2024, 3, 1, 10), None, Notation(ISTANBUL), "2024-03-01T07:00:00.000Z"),
        (date(2024, 3, 1), None, Notation(ISTANBUL), "2024-02-29T21:00:00.000Z"),
        ('{"a": [1]}', "json", PLAIN, {"a": [1]}),
        ({"a": 1}, "json", PLAIN, {"a": 1}),
        ("12.50", None, PLAIN, "12.50"),
        ("", "number", PLAIN, None),
        ("  ", "time", PLAIN, None),
        (float("nan"), None, PLAIN, None),
    ],
)
def test_a_cell_is_what_its_column_is_said_to_hold(
    cell: Any, kind: Kind | None, notation: Notation, expected: Any
) -> None:
    found = value(cell, kind, notation)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("cell", "kind", "notation", "said"),
    [
        ("abc", "number", PLAIN, "expected a number, got 'abc'"),
        ("12,5", "number", PLAIN, "say --decimal , or --decimal ."),
        ("1.5", "number", Notation(decimal=","), "expected a number"),
        ("1_000", "number", PLAIN, "expected a number"),
        ("١٢", "number", PLAIN, "expected a number"),
        ("1e999", "number", PLAIN, "that a double can hold"),
        ("nan", "number", PLAIN, "expected a number"),
        (True, "number", PLAIN, "expected a number"),
        ("9" * 5000, "number", PLAIN, "expected a number"),
        ("1.5", "integer", PLAIN, "expected a whole number"),
        ("maybe", "boolean", PLAIN, "expected true or false"),
        ("31/12/2024", "time", PLAIN, "such as 2026-03-01T10:00:00"),
        ("2024-12-31", "time", Notation(times="%d.%m.%Y"), "a time like %d.%m.%Y"),
        ("{", "json", PLAIN, "expected JSON"),
    ],
)
def test_a_cell_that_does_not_hold_that_is_refused_in_words(
    cell: Any, kind: Kind, notation: Notation, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        value(cell, kind, notation)


def test_a_refused_row_names_its_line_its_column_and_everything_that_is_wrong() -> None:
    row = mapped({"customer_no": "", "amount": "abc", "sold_at": "2024-03-01"}, SALES, PLAIN)
    verdict = judged(row, ARRIVAL, "an-id")
    assert isinstance(verdict, Refused)
    found = located(verdict, SALES.columns, "line 17 of sales.csv")
    assert [(reason.path, reason.message) for reason in found.reasons] == [
        ("$.properties.total", "column amount: expected a number, got 'abc'"),
        ("$.userId", "column customer_no: give userId or anonymousId, so that it is known whose call this is"),
        ("$", "line 17 of sales.csv"),
    ]
    assert json.loads(found.body)["properties"] == {"total": "abc"}  # what a person mends
    assert (found.type, found.name) == ("track", "Order Completed")


def test_text_in_another_encoding_is_a_reason_and_no_crash() -> None:
    row = mapped(
        {"customer_no": "17", "amount": "1", "sold_at": "", "till": "\udcfc"}, Mapping(rest=("properties",)), PLAIN
    )
    assert [reason.code for reason in row.reasons] == ["malformed_encoding"]
    assert isinstance(judged(row, ARRIVAL, "an-id"), Refused)


# --- lines that are calls --------------------------------------------------------------------------------------------


def test_a_call_of_the_past_keeps_its_time_although_it_says_when_it_was_sent() -> None:
    line = b'{"type":"page","userId":"u","timestamp":"2024-03-01T10:00:00Z","sentAt":"2024-03-01T10:00:01Z"}'
    for row in (row_of_line(line), mapped(json.loads(line), Mapping(whole=True), PLAIN)):
        verdict = judged(row, ARRIVAL, "an-id")
        assert isinstance(verdict, Accepted)
        assert verdict.touchpoint.time == datetime(2024, 3, 1, 10, tzinfo=UTC)


def test_a_call_that_passed_a_collector_keeps_all_it_says() -> None:
    line = b'{"type":"page","userId":"u","sentAt":"2024-03-01T10:00:01Z","receivedAt":"2024-03-01T10:00:02Z"}'
    assert row_of_line(line).text == line


@pytest.mark.parametrize(
    ("line", "own"),
    [
        (b'{"messageId": "m"}', True),
        (b'{"messageId": 7}', True),
        (b'{"messageId": ""}', False),
        (b'{"messageId": null}', False),
        (b'{"properties": {"messageId": "m"}}', False),
        (b"nonsense", False),
        (b"[" * 100_000, False),
    ],
)
def test_whether_a_line_has_an_id_of_its_own(line: bytes, own: bool) -> None:
    assert row_of_line(line).own_id is own


# --- ids -------------------------------------------------------------------------------------------------------------


def ids(texts: Sequence[bytes], chunk: int = 7) -> list[str]:
    """The ids of rows that say this, read in chunks of so many."""
    occurrences, found = Occurrences(), []
    for start in range(0, len(texts), chunk):
        said = [digest(text) for text in texts[start : start + chunk]]
        found += [row_id(each, before) for each, before in zip(said, occurrences.before(said), strict=True)]
    return found


rows = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"a 1", b"a1"]), max_size=60)


@given(rows, st.integers(1, 9), st.integers(1, 9))
def test_reading_a_file_again_gives_the_same_ids_however_it_is_cut_into_chunks(
    texts: list[bytes], one: int, other: int
) -> None:
    assert ids(texts, one) == ids(texts, other)


@given(rows)
def test_no_two_rows_of_a_file_have_the_same_id(texts: list[bytes]) -> None:
    assert len(set(ids(texts))) == len(texts)


@given(rows, rows, st.randoms(use_true_random=False))
def test_rows_that_are_added_anywhere_leave_the_others_their_ids(
    texts: list[bytes], more: list[bytes], random: Any
) -> None:
    later = [*texts, *more]
    random.shuffle(later)
    assert set(ids(texts)) <= set(ids(later))


@given(st.lists(st.integers(0, 3000), max_size=3000), st.integers(100, 900))
@settings(max_examples=20, deadline=None)
def test_occurrences_are_counted_as_a_counter_would(numbers: list[int], chunk: int) -> None:
    said = [digest(b"%d" % number) for number in numbers]
    counter: Counter[bytes] = Counter()
    expected = []
    for each in said:
        expected.append(counter[each])
        counter[each] += 1
    occurrences = Occurrences()
    found = [n for start in range(0, len(said), chunk) for n in occurrences.before(said[start : start + chunk])]
    assert found == expected
    assert len(occurrences.levels) < 8


def test_an_id_is_the_uuid_of_version_5_of_what_the_row_says() -> None:
    text = '{"type":"page","userId":"ü"}'
    assert row_id(digest(text.encode()), 0) == str(uuid.uuid5(NAMESPACE, text))
    assert uuid.UUID(row_id(digest(text.encode()), 1)).version == 5


def test_what_a_row_says_does_not_depend_on_the_order_of_columns_or_on_columns_that_go_nowhere() -> None:
    how = Mapping(SALES.fields, SALES.constants, rest=("properties",))
    one = mapped({"customer_no": "1", "amount": "2", "b": "3", "a": "4", "sold_at": ""}, how, PLAIN)
    other = mapped({"a": "4", "sold_at": "", "b": "3", "amount": "2.0", "customer_no": "1"}, how, PLAIN)
    assert call(one) == call(other)
    assert (
        mapped({"b": "1", "customer_no": "1"}, SALES, PLAIN).text
        == mapped({"customer_no": "1", "exported_at": "tonight"}, SALES, PLAIN).text
    )


# --- quoting ---------------------------------------------------------------------------------------------------------

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def read(content: bytes, **options: Any) -> list[tuple[int, Row]]:
    file = io.BytesIO(content)
    return list(comma_separated(Opened(file, len(content), file), Options("pos", **options)).rows)


@given(
    st.lists(st.tuples(cells, cells), max_size=10),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(deadline=None)
def test_whatever_a_spreadsheet_quotes_comes_out_as_it_was(
    table: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("userId", "properties.note"), *table])
    found = read(written.getvalue().encode("utf-8-sig"))
    assert [(call(row).get("userId", ""), call(row).get("properties", {}).get("note", "")) for _, row in found] == table


def test_rows_are_found_by_the_line_they_begin_in_and_a_stray_quote_costs_one_row_only() -> None:
    content = (
        b'userId,event\n1,"two\nlines"\n\n2,"never closed\n3,fine\n4,"good"\n5,too,many\n6,last\r\n'
        b'7,"never closed either\n'
    )
    found = read(content)
    assert [(number, row.readable, row.text) for number, row in found] == [
        (2, True, b'{"event":"two\\nlines","userId":"1"}'),
        (5, False, b'2,"never closed'),
        (6, True, b'{"event":"fine","userId":"3"}'),
        (7, True, b'{"event":"good","userId":"4"}'),
        (8, False, b"5,too,many"),
        (9, True, b'{"event":"last","userId":"6"}'),
        (10, False, b'7,"never closed either'),
    ]


def test_an_encoding_that_is_named_is_understood() -> None:
    [(_, row)] = read("userId,event\n1,ürün\n".encode("cp1254"), encoding="cp1254")
    assert call(row)["event"] == "ürün"
    [(_, row)] = read("userId,event\n1,ürün\n".encode("utf-8-sig"), encoding="utf8")
    assert call(row)["event"] == "ürün"
    [(_, row)] = read("userId;event\n1;ürün\n".encode("utf-16"), encoding="utf-16")
    assert call(row)["event"] == "ürün"
    [(_, row)] = read("userId,event\n1,ürün\n".encode("cp1254"))
    assert [reason.code for reason in row.reasons] == ["malformed_encoding"]

"""Files are imported by the real command, in a process of its own, into a real Kafka."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from deploy.local.settings import ROOT
from services.ingest.domain.grants import GRANTS
from services.ingest.domain.plan import Where
from services.ingest.domain.sources import Source
from services.ingest.service.importing.progress import Mark, Progress
from services.ingest.service.importing.running import CHUNK_ROWS, UNDER_WAY
from services.ingest.store import plan, sources
from shared import audit, topics
from shared.audit import Selection, of_operator
from shared.clock import system_clock
from shared.db import Database
from shared.events import Rejected, Touchpoint
from tests.ingest.door import SECRET_KEY, Place, prepared, read
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Installation, Servers
from tests.waiting import PATIENCE, in_time, until

SALES = (
    *("--map", "userId=customer_no", "--map", "timestamp=sold_at", "--map", "properties.total:number=amount"),
    *("--set", "type=track", "--set", "event=Order Completed"),
)


class Said(NamedTuple):
    """What the command answered."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shop:
    """A source of its own in a place that others use too, and a folder with its files."""

    place: Place
    source: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TEMAS_KAFKA_BOOTSTRAP": self.place.kafka.bootstrap,
            "TEMAS_KAFKA_PREFIX": self.place.kafka.prefix,
            "TEMAS_KAFKA_DEADLINE": str(self.place.kafka.deadline),
            "TEMAS_INGEST_DATABASE_URL": self.place.database.url.get_secret_value(),
            "TEMAS_SECRET_KEY": SECRET_KEY,
            "TEMAS_KEY_SIGNING_SECRET": KEY_SIGNING_SECRET,
        }

    async def started(self, *arguments: str | Path, without: str | None = None) -> asyncio.subprocess.Process:
        """The command at work, in the shop's folder; `without` one of its settings."""
        command = ("-m", "services.ingest", "import", "--source", self.source, *map(str, arguments))
        pipe = asyncio.subprocess.PIPE
        environment = {name: value for name, value in self.environment.items() if name != without}
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=self.folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
        )

    async def run(self, *arguments: str | Path, stdin: bytes | None = None, without: str | None = None) -> Said:
        return await ended(await self.started(*arguments, without=without), stdin)

    async def becomes(self, source: Source) -> None:
        async with Database.open(self.place.database) as database, database.begin() as work:
            await sources.put(work, source, system_clock())

    async def log(self) -> list[Touchpoint]:
        """The source's touchpoints as they lie in the log, those that came twice too."""
        return [
            each for each in await read(self.place.kafka, topics.TOUCHPOINTS, Touchpoint) if each.source == self.source
        ]

    async def rejected(self) -> list[Rejected]:
        return [each for each in await read(self.place.kafka, topics.REJECTED, Rejected) if each.source == self.source]

    def sales(self, count: int, name: str = "sales.csv", *, distinct: int = 1_000_000) -> Path:
        """A file with so many sales of the year 2024, which repeat themselves after so many `distinct` ones."""
        path = self.folder / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("customer_no", "sold_at", "amount", "till"))
            writer.writerows(sale(number % distinct) for number in range(count))
        return path


def sale(number: int) -> tuple[str, str, float, int]:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return f"c-{number % 500}", at.isoformat(), number / 4, number % 3


async def ended(process: asyncio.subprocess.Process, stdin: bytes | None = None) -> Said:
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def shop_at(place: Place, source: str, folder: Path) -> Shop:
    shop = Shop(place, source, folder)
    await shop.becomes(Source(name=source, usual="store"))
    return shop


@pytest.fixture
async def shop(installation: Installation, tmp_path: Path) -> Shop:
    return await shop_at(await prepared(installation), "pos", tmp_path)


@pytest.fixture(scope="module")
async def still(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A shop for commands that write nothing. At the end, nothing is written."""
    async with servers.installation() as installation:
        shop = await shop_at(await prepared(installation), "pos", tmp_path_factory.mktemp("still"))
        shop.sales(3)
        before = sorted(shop.folder.iterdir())
        yield shop
        assert (await shop.log(), await shop.rejected()) == ([], [])
        assert sorted(shop.folder.iterdir()) == before


def seen(log: Sequence[Touchpoint]) -> dict[str, Touchpoint]:
    """What consumers make of the log: each touchpoint once."""
    return {each.id: each for each in log}


# --- formats ---------------------------------------------------------------------------------------------------------


def as_ndjson(sales: Path) -> bytes:
    with sales.open(newline="") as file:
        return b"".join(json.dumps(row).encode() + b"\n" for row in csv.DictReader(file))


def parquet_of(sales: Path, path: Path) -> Path:
    with sales.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pa.table({
        "customer_no": [row["customer_no"] for row in rows],
        "sold_at": pa.array([datetime.fromisoformat(row["sold_at"]) for row in rows], pa.timestamp("ns", "UTC")),
        "amount": [float(row["amount"]) for row in rows],
        "till": pa.array([int(row["till"]) for row in rows], pa.int8()),
    })  # fmt: skip
    parquet.write_table(table, path, row_group_size=400)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zstd(content: bytes) -> bytes:
    """As two frames, one after the other: that is how such files are added to."""
    half = len(content) // 2
    return b"".join(pa.compress(part, "zstd", asbytes=True) for part in (content[:half], content[half:]))


FORMATS: dict[str, Callable[[Path], Path]] = {
    "csv": lambda sales: sales,
    "csv.gz": lambda sales: written(sales.with_suffix(".csv.gz"), gzip.compress(sales.read_bytes())),
    "csv.zst": lambda sales: written(sales.with_suffix(".csv.zst"), zstd(sales.read_bytes())),
    "ndjson": lambda sales: written(sales.with_suffix(".ndjson"), as_ndjson(sales)),
    "ndjson.gz": lambda sales: written(sales.with_suffix(".jsonl.gz"), gzip.compress(as_ndjson(sales))),
    "ndjson.zst": lambda sales: written(sales.with_suffix(".ndjson.zst"), zstd(as_ndjson(sales))),
    "parquet": lambda sales: parquet_of(sales, sales.with_suffix(".parquet")),
}


async def test_the_same_rows_are_the_same_touchpoints_in_every_format(shop: Shop) -> None:
    sales = shop.sales(1_000)
    for place_, (name, make) in enumerate(FORMATS.items(), start=1):
        said = await shop.run(make(sales), *SALES)
        assert (said.code, said.err) == (0, ""), name
        assert "1,000 taken, 0 rejected" in said.out
        assert "left out: till" in said.out
        log = await shop.log()
        assert len(log) == 1_000 * place_
        assert len(seen(log)) == 1_000, name
    one = next(each for each in log if each.properties()["total"] == 2.5)
    assert one.time == datetime(2024, 1, 1, 0, 0, 10, tzinfo=UTC)  # as it was, not as of now
    assert system_clock() - one.data.received_at < timedelta(minutes=5)
    assert (one.data.user_id, one.data.name, one.data.channel) == ("c-10", "Order Completed", "store")


async def test_calls_as_they_are_keep_their_ids_their_times_and_all_they_say(shop: Shop) -> None:
    calls = [
        {"type": "page", "userId": "u", "messageId": "m-1", "name": "Home", "timestamp": "2024-03-01T10:00:00Z"},
        {"type": "identify", "anonymousId": "a", "traits": {"plan": "pro"}, "sentAt": "2024-03-01T10:00:00Z",
         "timestamp": "2024-03-01T09:59:00Z"},
    ]  # fmt: skip
    lines = b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(call).encode() for call in calls) + b"\n\n"
    assert (await shop.run(written(shop.folder / "calls.ndjson", lines))).code == 0
    by_type = {each.data.type: each for each in await shop.log()}
    assert by_type["page"].id == "m-1"
    assert by_type["page"].time == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert by_type["identify"].time == datetime(2024, 3, 1, 9, 59, tzinfo=UTC)
    assert by_type["identify"].data.traits == {"plan": "pro"}


async def test_standard_input_is_taken_and_says_that_it_can_not_go_on(shop: Shop) -> None:
    said = await shop.run("-", stdin=b'{"type":"page","userId":"u"}\n' * 3)
    assert said.code == 0
    assert "can't go on where it was stopped" in said.err
    assert "3 rows say no time, and count as of now" in said.out
    assert len(seen(await shop.log())) == 3  # equal rows of one file are events of their own
    assert (await shop.run("-", stdin=b'{"type":"page","userId":"u"}\n' * 4)).code == 0
    assert len(seen(await shop.log())) == 4


async def test_a_mapping_file_says_the_same_as_options_and_options_say_more(shop: Shop) -> None:
    notes = {
        "map": {"userId": "kunde", "timestamp": "tag", "properties.total:number": "betrag"},
        "set": {"type": "track", "event": "Order Completed", "properties.vat": 0.19},
        "decimal": ",", "zone": "Europe/Berlin", "time_format": "%d.%m.%Y", "encoding": "cp1252",
    }  # fmt: skip
    mapping = written(shop.folder / "mapping.json", json.dumps(notes).encode())
    sales = written(shop.folder / "sales.txt", "kunde;tag;betrag\r\nMüller;01.07.2024;1.234,50\r\n".encode("cp1252"))
    said = await shop.run(sales, "--mapping", mapping, "--set", "event=Order Refunded")
    assert said.code == 0, said
    [touchpoint] = await shop.log()
    assert touchpoint.time == datetime(2024, 6, 30, 22, tzinfo=UTC)
    assert (touchpoint.data.user_id, touchpoint.data.name) == ("Müller", "Order Refunded")
    assert touchpoint.properties() == {"total": 1234.5, "vat": 0.19}


# --- what a source may state -----------------------------------------------------------------------------------------


async def test_rows_state_what_their_source_may_and_are_believed_as_it_is(shop: Shop) -> None:
    card = {"externalIds": [{"type": "loyalty_card", "id": "7"}]}
    calls = [
        {"type": "page", "messageId": "m-1", "userId": "u"},
        {"type": "page", "messageId": "m-2", "userId": "u", "context": card},
    ]
    file = written(shop.folder / "calls.ndjson", b"\n".join(json.dumps(call).encode() for call in calls))
    said = await shop.run(file)
    assert said.code == 1
    assert "'external_ids'" in said.out
    [waiting] = await shop.rejected()
    assert waiting.data.reasons[0].code == "not_granted"
    assert [(each.id, each.data.trust) for each in await shop.log()] == [("m-1", "client")]

    await shop.becomes(Source(name=shop.source, trust="server", may=GRANTS))
    assert (await shop.run(file, "--restart")).code == 0
    assert [(each.id, each.data.trust) for each in await shop.log()][1:] == [("m-1", "server"), ("m-2", "server")]


async def test_no_file_has_to_prove_who_somebody_is(shop: Shop) -> None:
    await shop.becomes(Source(name=shop.source, identity_proof="required"))
    assert (await shop.run(shop.sales(3), *SALES)).code == 0
    assert len(await shop.log()) == 3


# --- rejected rows ---------------------------------------------------------------------------------------------------

BAD = b"""customer_no,sold_at,amount
c-1,2024-01-01,1
,2024-01-02,2
c-3,yesterday,3
c-4,2024-01-04,four
c-5,2024-01-05
c-6,2024-01-06,6
"""


async def test_rows_that_can_not_be_used_are_in_the_queue_with_line_and_column(shop: Shop) -> None:
    said = await shop.run(written(shop.folder / "bad.csv", BAD), *SALES)
    assert said.code == 1
    assert "2 taken, 4 rejected" in said.out
    assert "line 5: $.properties.total: column amount: expected a number, got 'four'" in said.out

    found = {each.data.reasons[-1].message: each for each in await shop.rejected()}
    assert sorted(found) == [f"line {number} of bad.csv" for number in (3, 4, 5, 6)]
    four = found["line 5 of bad.csv"].data
    assert four.reasons[0].message == "column amount: expected a number, got 'four'"
    assert (four.form, four.type, four.name) == ("call", "track", "Order Completed")
    assert json.loads(four.body)["properties"] == {"total": "four"}
    assert found["line 6 of bad.csv"].data.body == b"c-5,2024-01-05"
    assert len(seen(await shop.log())) == 2

    again = await shop.run(shop.folder / "bad.csv", *SALES, "--restart")
    assert again.code == 1
    assert {each.id for each in await shop.rejected()} == {each.id for each in found.values()}


async def test_a_wrong_mapping_does_not_fill_the_queue(shop: Shop) -> None:
    sales = shop.sales(5_000)
    wrong = [word.replace("=amount", "=customer_no") for word in SALES]
    said = await shop.run(sales, *wrong, "--max-rejected", "100")
    assert said.code == 3
    assert "more than --max-rejected 100 allows" in said.err
    assert "0 rows are in" in said.err
    assert (await shop.rejected(), await shop.log()) == ([], [])
    assert (await shop.run(sales, *SALES)).code == 0  # nothing was begun, so nothing has to be begun anew


async def test_a_rehearsal_writes_nothing_and_shows_what_is_wrong(shop: Shop) -> None:
    bad = written(shop.folder / "bad.csv", BAD)
    said = await shop.run(bad, *SALES, "--dry-run")
    assert said.code == 1
    assert "2 could be taken, 4 would be rejected" in said.out
    assert "line 3: $.userId: column customer_no: give userId" in said.out
    assert "line 6: $: 2 cells, where 3 columns are named" in said.out
    assert list(shop.folder.iterdir()) == [bad]
    assert (await shop.log(), await shop.rejected()) == ([], [])


async def test_who_took_a_file_in_is_written_down(shop: Shop) -> None:
    sales = shop.sales(3)
    assert (await shop.run(sales, *SALES, "--dry-run")).code == 0
    assert (await shop.run(sales, *SALES)).code == 0
    async with Database.open(shop.place.database) as database, database.begin() as work:
        rows = await audit.page(work, audit.LATEST, Selection(object="sources/pos"), 10)
    assert [(each.actor, each.action, json.loads(each.after)) for each in rows] == [
        (of_operator(), "imported", {"file": "sales.csv", "rows_before": 0})
    ]


async def test_rows_are_judged_by_the_tracking_plan(shop: Shop) -> None:
    schema = json.dumps({"properties": {"total": {"maximum": 1}}})
    event = Where("*", "track", "Order Completed")
    async with Database.open(shop.place.database) as database:
        for version, mode in enumerate(("observe", "enforce"), start=1):
            async with database.begin() as work:
                await plan.add(
                    work, event, version=version, mode=mode, schema=schema, now=system_clock(), by="somebody"
                )
            said = await shop.run(shop.sales(6, f"{mode}.csv"), *SALES)
            assert "1 rows depart from the tracking plan" in said.out
            assert said.code == (1 if mode == "enforce" else 0)
        async with database.begin() as work:
            counted = await plan.violations(work, event, system_clock().date() - timedelta(days=1), 10)
    assert {(each.mode, each.calls) for each in counted} == {("observe", 1), ("enforce", 1)}
    assert len(await shop.log()) == 6 + 5
    [rejected] = await shop.rejected()
    assert [reason.path for reason in rejected.data.reasons] == ["$.properties.total", "$"]
    assert "column amount" in rejected.data.reasons[0].message


# --- once ------------------------------------------------------------------------------------------------------------


async def begun(path: Path) -> Mark:
    """The mark of an import that has got somewhere."""

    async def far() -> Mark | None:
        mark = Progress(path.with_name(f"{path.name}.import")).read()
        return mark if mark and mark.rows else None

    return await until(far)


async def further(path: Path) -> None:
    """Return when an import has got further than it was."""
    mark = Progress(path.with_name(f"{path.name}.import")).read()
    rows = mark.rows if mark else 0

    async def moved() -> bool:
        return (await begun(path)).rows > rows

    await until(moved)


def exactly(log: Sequence[Touchpoint], count: int, *, distinct: int = 1_000_000) -> None:
    """Each of the sales is there, as often as in the file, and nothing else."""
    found = sorted((each.time, each.data.user_id, each.properties()["total"]) for each in seen(log).values())
    expected = [sale(number % distinct) for number in range(count)]
    assert found == sorted((datetime.fromisoformat(at), customer, amount) for customer, at, amount, _ in expected)


async def test_killed_and_started_again_each_row_is_there_once(shop: Shop) -> None:
    count, kills = 60_000, 2
    sales = shop.sales(count, distinct=25_000)
    for _ in range(kills):
        process = await shop.started(sales, *SALES)
        await further(sales)
        process.kill()
        await process.wait()
    before = (await begun(sales)).rows
    said = await shop.run(sales, *SALES)
    assert said.code == 0, said
    assert f"{count:,} taken, 0 rejected" in said.out
    assert before < count
    log = await shop.log()
    exactly(log, count, distinct=25_000)
    assert len(log) - count <= kills * UNDER_WAY * CHUNK_ROWS


async def test_interrupted_it_lets_what_is_under_way_arrive_and_says_how_to_go_on(shop: Shop) -> None:
    sales = shop.sales(60_000)
    process = await shop.started(sales, *SALES)
    await begun(sales)
    process.send_signal(signal.SIGINT)
    said = await ended(process)
    assert said.code == 3
    assert "the same command goes on" in said.err
    there = (await begun(sales)).rows
    assert len(await shop.log()) == there < 60_000
    assert (await shop.run(sales, *SALES)).code == 0
    log = await shop.log()
    assert len(log) == 60_000
    exactly(log, 60_000)


async def test_a_file_that_is_done_is_not_done_again_and_if_it_is_nothing_changes(shop: Shop) -> None:
    sales = shop.sales(100)
    await shop.run(sales, *SALES)
    assert "imported already" in (await shop.run(sales, *SALES)).out
    assert len(await shop.log()) == 100
    assert (await shop.run(sales, *SALES, "--restart")).code == 0
    log = await shop.log()
    assert (len(log), len(seen(log))) == (200, 100)


async def test_tonights_export_repeats_yesterdays_rows_which_changes_nothing(shop: Shop) -> None:
    sales = shop.sales(100)
    await shop.run(sales, *SALES)
    head, *lines = sales.read_text().splitlines()
    lines.insert(50, "c-new,2024-05-01T00:00:00Z,5,1")
    sales.write_text("\n".join([head, *reversed(lines)]))
    said = await shop.run(sales, *SALES)
    assert said.code == 0, said
    assert len(seen(await shop.log())) == 101


async def test_of_an_export_that_only_grows_old_rows_are_left_out(shop: Shop) -> None:
    sales = shop.sales(100)
    said = await shop.run(sales, *SALES, "--since", "2024-01-01T00:01:30")
    assert said.code == 0
    assert "10 taken, 0 rejected" in said.out
    assert "90 rows are from before --since" in said.out
    assert {each.time.second for each in await shop.log()} == set(range(30, 40))
    await shop.run(sales, *SALES)
    assert len(seen(await shop.log())) == 100  # which changes no id


async def test_what_is_in_for_longer_than_ids_are_known_is_not_taken_again(shop: Shop) -> None:
    sales = shop.sales(10)
    await shop.run(sales, *SALES)
    progress = Progress(shop.folder / "sales.csv.import")
    mark = progress.read()
    assert mark is not None
    progress.write(replace(mark, begun_at=mark.begun_at - timedelta(days=31)))
    said = await shop.run(sales, *SALES, "--restart")
    assert said.code == 2
    assert "would count twice" in said.err
    progress.path.write_text("{")
    assert "does not tell how far the file was taken" in (await shop.run(sales, *SALES)).err
    assert len(await shop.log()) == 10


async def test_an_import_that_was_not_finished_goes_on_only_as_it_was_begun(shop: Shop) -> None:
    sales = shop.sales(60_000)
    process = await shop.started(sales, *SALES)
    await begun(sales)
    process.kill()
    await process.wait()
    said = await shop.run(sales, *SALES, "--zone", "Europe/Istanbul")
    assert said.code == 2
    assert "with another zone" in said.err
    assert "--restart" in said.err
    sales.write_text(sales.read_text() + "c-1,2024-05-01T00:00:00Z,5,1\n")
    said = await shop.run(sales, *SALES)
    assert said.code == 2
    assert "with another content of the file" in said.err
    assert (await shop.run(sales, *SALES, "--restart")).code == 0
    assert len(seen(await shop.log())) == 60_001


async def test_a_file_that_is_cut_short_is_not_taken_for_a_whole_one(shop: Shop) -> None:
    packed = gzip.compress(shop.sales(100).read_bytes())
    zst = zstd(shop.sales(100).read_bytes())
    broken = zst[:-40] + bytes(20) + zst[-20:]
    for name, content in (("cut.csv.gz", packed[:-20]), ("cut.csv.zst", zst[:-20]), ("broken.csv.zst", broken)):
        said = await shop.run(written(shop.folder / name, content), *SALES)
        assert said.code == 3, said
        assert "cut short or damaged" in said.err


# --- what is asked for wrongly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sales.csv", *SALES, "--map", "userID=customer_no"], "did you mean userId?"),
        (["none.csv"], "none.csv can't be read: No such file"),
        (["sales.csv"], "say which is which, as in --map userId=customer_no"),
        (["sales.csv", "--map", "userId=customer"], "there is no column customer; the file has customer_no, sold_at"),
        (["sales.csv", *SALES, "--format", "parquet"], "this is no Parquet file"),
        (["sales.csv", *SALES, "--source", "nobody"], "make it with PUT /v1/sources/nobody"),
        (["sales.csv", "sales.csv", "--progress", "here"], "--progress is for one file"),
        (["sales.csv", *SALES, "--progress", "nowhere/here"], "name another place with --progress"),
    ],
)
async def test_what_can_not_be_done_is_refused_in_words(still: Shop, arguments: list[str], said: str) -> None:
    answer = await still.run(*arguments)
    assert answer.code == 2, answer
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("name", ["TEMAS_SECRET_KEY", "TEMAS_KAFKA_BOOTSTRAP", "TEMAS_INGEST_DATABASE_URL"])
async def test_a_missing_setting_is_named(still: Shop, name: str) -> None:
    answer = await still.run("sales.csv", *SALES, without=name)
    assert answer.code == 2
    assert f"{name}: field required" in answer.err


# --- large files and servers that are away ---------------------------------------------------------------------------


async def peak(process: asyncio.subprocess.Process) -> float:
    """The most memory that it had until it ended, in MB."""
    highest = 0
    watched = psutil.Process(process.pid)
    while process.returncode is None:
        try:
            highest = max(highest, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.02)
    return highest / 1e6


async def test_a_large_file_is_never_in_memory_as_a_whole(shop: Shop) -> None:
    async def used(path: Path) -> float:
        process = await shop.started(path, *SALES)
        highest = await peak(process)
        assert (await ended(process)).code == 0
        return highest

    small = await used(shop.sales(1_000, "small.csv"))
    large = await used(shop.sales(300_000, "large.csv"))
    assert large - small < 100


@asynccontextmanager
async def fragile(servers: Servers, folder: Path) -> AsyncIterator[Shop]:
    async with servers.installation() as installation:
        place = await prepared(installation)
        impatient = Place(place.kafka.model_copy(update={"deadline": 2.0}), place.database)
        yield await shop_at(impatient, "pos", folder)


async def test_while_kafka_is_away_it_waits_and_then_goes_on(breakable_servers: Servers, tmp_path: Path) -> None:
    async with fragile(breakable_servers, tmp_path) as shop:
        sales = shop.sales(60_000)
        process = await shop.started(sales, *SALES)
        assert process.stderr
        await begun(sales)
        process.send_signal(signal.SIGSTOP)  # or it would be done before Kafka is
        await breakable_servers.kafka.stop()
        process.send_signal(signal.SIGCONT)
        first = await in_time(process.stderr.readline())
        assert b"Kafka does not acknowledge; trying again" in first
        await breakable_servers.kafka.start()
        said = await ended(process)
        assert said.code == 0, said
        exactly(await shop.log(), 60_000)


async def test_a_kafka_that_stays_away_is_given_up_and_nothing_is_lost(
    breakable_servers: Servers, tmp_path: Path
) -> None:
    async with fragile(breakable_servers, tmp_path) as shop:
        sales = shop.sales(60_000)
        process = await shop.started(sales, *SALES, "--patience", "3")
        await begun(sales)
        breakable_servers.kafka.pause()
        said = await ended(process)
        breakable_servers.kafka.resume()
        assert said.code == 3
        assert "Kafka has not acknowledged for" in said.err
        assert "the same command goes on" in said.err
        assert (await shop.run(sales, *SALES)).code == 0
        exactly(await shop.log(), 60_000)

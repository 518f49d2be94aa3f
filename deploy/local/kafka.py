"""Apache Kafka in KRaft mode, one node that is broker and controller, small enough for a laptop.

Ready is what does its work: a record in each codec has been acknowledged and read back, on a topic of the stack's own.
That is also what loads Kafka's native libraries, while there is room to unpack them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local import scratch
from deploy.local.environment import of_servers
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home, write_private
from deploy.local.jars import KAFKA
from deploy.local.processes import Command, run_once
from deploy.local.program import Program
from deploy.local.settings import LOOPBACK
from shared.tasks import library_call

JVM = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # half the start time; two cores have better things to do than optimise a small broker
    "-XX:+ExitOnOutOfMemoryError",  # the supervisor starts it again; half a broker serves nobody
    "-XX:+PerfDisableSharedMem",  # no file of measurements in the system's temporary folder, which may be full
    "-Djava.awt.headless=true",
    "-Dorg.apache.logging.log4j.level=WARN",
)

PROBE = NewTopic(
    "__temas_ready",  # as Kafka's own internal topics are called: not among those that people look at
    num_partitions=1,
    replication_factor=1,
    topic_configs={"retention.ms": "600000", "segment.ms": "600000", "segment.bytes": "1048576"},
)
"""Where the stack itself writes, and reads back what it wrote."""

CODECS = ("zstd", "lz4", "snappy")
"""Those that need a native library. Our services use zstd; other clients may use any."""

PATIENCE = 20.0
"""Seconds that the work may take, on however busy a machine."""

STOPS_WITHIN = 3.0
"""Seconds that the end of a client may take."""

LOCALE = {"LC_ALL": "C.UTF-8"}
"""Elsewhere Java takes the letters of a path for question marks where it holds others than English ones."""

PROPERTIES = """\
# Written anew at every start: a change here does not last.
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs={data}
auto.create.topics.enable=false

# One node: one copy of everything, and few partitions of what Kafka keeps for itself.
default.replication.factor=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# After kill -9 the controller waits for the dead broker's session: 3 s rather than 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0

num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""


def program(home: Home, port: int, controller: int, java: Path, jars: Path) -> Program:
    """Kafka on `port`, its data in `home`; `controller` is the port that it talks to itself on."""
    unpacked = scratch.make(home)
    run = (str(java), *JVM, f"-Djava.io.tmpdir={unpacked}", "-cp", f"{jars}/*")
    properties = home.kafka / "server.properties"
    return Program(
        title=f"Kafka {KAFKA}",
        command=Command("kafka", (*run, "kafka.Kafka", str(properties)), of_servers() | LOCALE),
        port=port,
        ready=lambda: ready(port),
        prepare=lambda: prepare(home, port, controller, run, unpacked),
        data=home.kafka,
    )


async def prepare(home: Home, port: int, controller: int, run: tuple[str, ...], unpacked: Path) -> None:
    """Write the settings, and format the data folder where there is none. Raises Refused where it is half there.

    `unpacked` is emptied: a Kafka that was killed has left its libraries there.
    """
    data, properties = home.kafka / "data", home.kafka / "server.properties"
    home.kafka.mkdir(mode=0o700, exist_ok=True)
    scratch.empty(unpacked)
    if not data.exists():
        await _format(home, run)
    elif not (data / "meta.properties").exists():
        raise Refused(f"{data} is incomplete: type make reset, which deletes it, and then make up.")
    settings = _properties(port, controller, data)
    if not properties.exists() or properties.read_text() != settings:  # a start needs no room on a disk that is full
        write_private(properties, settings)


async def _format(home: Home, run: tuple[str, ...]) -> None:
    """Format beside the place, then move it there: the data folder is whole or is not."""
    draft, properties = home.kafka / "data.draft", home.kafka / "format.properties"
    shutil.rmtree(draft, ignore_errors=True)
    write_private(properties, _properties(9092, 9093, draft))
    tool = ("kafka.tools.StorageTool", "format", "--cluster-id", cluster_id(uuid.uuid4()), "--config", str(properties))
    await run_once(Command("kafka", (*run, *tool), of_servers() | LOCALE), home)
    properties.unlink()
    draft.rename(home.kafka / "data")


def _properties(port: int, controller: int, data: Path) -> str:
    """The settings. Java reads such a file as Latin-1, with escapes that happen to be JSON's."""
    return PROPERTIES.format(host=LOOPBACK, port=port, controller=controller, data=json.dumps(str(data))[1:-1])


def cluster_id(seed: uuid.UUID) -> str:
    """A cluster id that begins with a letter: Kafka's tool takes one that begins with `-` for an option."""
    first, *rest = seed.bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


async def ready(port: int) -> None:
    """Return once the broker does its work. Raises NotReady while it does not."""
    try:
        await library_call(_work(port), within=PATIENCE)
    except NotReady:
        raise
    except TimeoutError as error:
        raise NotReady(f"it takes more than {PATIENCE:.0f} s to write a record and read it back") from error
    except Exception as error:  # aiokafka's own surprises too: whoever asks goes on asking
        raise NotReady(f"{type(error).__name__}: {error}") from error


async def _work(port: int) -> None:
    """Write a record in each codec, and read it back."""
    _, closing = await asyncio.open_connection(LOOPBACK, port)  # at once where nobody listens: no client need be made
    closing.close()
    address = f"{LOOPBACK}:{port}"
    await _make_topic(address)
    await _read_back(address, [await _written(address, codec) for codec in CODECS])


async def _make_topic(address: str) -> None:
    """Make the topic where there is none. Raises NotReady where the broker has not joined its cluster."""
    async with _running(AIOKafkaAdminClient(bootstrap_servers=address)) as admin:
        if not (await admin.describe_cluster())["brokers"]:
            raise NotReady("the broker has not joined its cluster")
        if PROBE.name not in await admin.list_topics():
            await admin.create_topics([PROBE])


async def _written(address: str, codec: str) -> int:
    """Write a record that `codec` compresses. The offset that is acknowledged."""
    async with _running(AIOKafkaProducer(bootstrap_servers=address, acks="all", compression_type=codec)) as producer:
        return int((await producer.send_and_wait(PROBE.name, codec.encode(), partition=0)).offset)


async def _read_back(address: str, offsets: Sequence[int]) -> None:
    """Read the records at these `offsets`. Raises NotReady where another codec's stands there."""
    partition = TopicPartition(PROBE.name, 0)
    async with _running(AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)) as consumer:
        consumer.assign([partition])
        for codec, offset in zip(CODECS, offsets, strict=True):
            consumer.seek(partition, offset)
            record = await consumer.getone()
            if (record.offset, record.value) != (offset, codec.encode()):
                raise NotReady(f"{codec} was written at {offset}, and {record.value!r} read at {record.offset}")


Client = TypeVar("Client", AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)


@asynccontextmanager
async def _running(client: Client) -> AsyncIterator[Client]:
    """The `client`, started; its end may not take long, though its broker is away."""
    end = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        await client.start()
        yield client
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPS_WITHIN):
                await end()

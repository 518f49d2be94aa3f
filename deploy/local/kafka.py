"""Apache Kafka in KRaft mode, one node that is broker and controller, small enough for a laptop."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import uuid
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local.environment import of_servers
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home, write_private
from deploy.local.jars import KAFKA
from deploy.local.processes import Command, run_once
from deploy.local.program import Program
from deploy.local.settings import LOOPBACK

JVM = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # half the start time; two cores have better things to do than optimise a small broker
    "-XX:+ExitOnOutOfMemoryError",  # the supervisor starts it again; half a broker serves nobody
    "-Djava.awt.headless=true",
    "-Dorg.apache.logging.log4j.level=WARN",
)

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
    run = (str(java), *JVM, f"-Djava.io.tmpdir={home.kafka / 'tmp'}", "-cp", f"{jars}/*")
    properties = home.kafka / "server.properties"
    return Program(
        title=f"Kafka {KAFKA}",
        command=Command("kafka", (*run, "kafka.Kafka", str(properties)), of_servers() | LOCALE),
        port=port,
        ready=lambda: ready(port),
        prepare=lambda: prepare(home, port, controller, run),
    )


async def prepare(home: Home, port: int, controller: int, run: tuple[str, ...]) -> None:
    """Write the settings, and format the data folder where there is none. Raises Refused where it is half there."""
    data, properties = home.kafka / "data", home.kafka / "server.properties"
    home.kafka.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(home.kafka / "tmp", ignore_errors=True)  # of a Kafka that was killed: it unpacks libraries there
    (home.kafka / "tmp").mkdir()
    if not data.exists():
        await _format(home, run)
    elif not (data / "meta.properties").exists():
        raise Refused(f"{data} is incomplete: type make reset, which deletes it, and then make up.")
    write_private(properties, _properties(port, controller, data))


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
    """Return once the broker has joined its cluster, and so can lead partitions."""
    try:
        _, closing = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), 2)
        closing.close()
        brokers = await asyncio.wait_for(_brokers(f"{LOOPBACK}:{port}"), 5)
    except (OSError, TimeoutError, KafkaError) as error:
        raise NotReady(f"{type(error).__name__}: {error}") from error
    if not brokers:
        raise NotReady("the broker has not joined its cluster")


async def _brokers(address: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=2000)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    finally:
        await admin.close()

"""A Kafka that asks who one is: TLS with an authority of its own, SCRAM, and rights for what it is not asked by."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiokafka.errors import KafkaError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from deploy.kafka.acls import grants, user
from deploy.kafka.apply import apply
from deploy.local import kafka as local
from deploy.local.environment import of_servers
from deploy.local.errors import NotReady
from deploy.local.home import Home, write_private
from deploy.local.jars import kafka_jars
from deploy.local.java import java
from deploy.local.processes import Command, run_once
from deploy.local.program import Program
from deploy.local.servers import Server
from deploy.local.settings import LOOPBACK, SERVICES, Settings
from shared.kafka import admin
from shared.settings import KafkaSettings
from tests.secrets import secret
from tests.servers import free, temporary_home
from tests.waiting import PATIENCE

ADMIN, BROKER = "admin", "broker"

SECURITY = """
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="{broker}" password="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
# ANONYMOUS is the controller to itself, on its own port; nobody is it on the other one.
super.users=User:{admin};User:{broker};User:ANONYMOUS
"""  # noqa: E501


@dataclass(frozen=True)
class SecureKafka:
    """How to reach it: as the administrator, and as each service's own user."""

    address: str
    authority: Path
    prefix: str

    def settings(self, name: str, password: str | None = None) -> KafkaSettings:
        """Those of the user `name`."""
        return KafkaSettings(
            bootstrap=self.address,
            security_protocol="SASL_SSL",
            ca_file=str(self.authority),
            sasl_mechanism="SCRAM-SHA-512",
            username=name,
            password=SecretStr(password or secret(name)),
            prefix=self.prefix,
        )

    def of(self, service: str) -> KafkaSettings:
        return self.settings(user(service))


@asynccontextmanager
async def secure_kafka() -> AsyncIterator[SecureKafka]:
    """One that runs for as long as the block lasts, with the services' users and their rights and nothing else."""
    port, controller = free(2)
    with temporary_home() as home:
        home.claim()
        home.kafka.mkdir()
        authority, keystore = certificates(home.kafka)
        secure = SecureKafka(f"{LOOPBACK}:{port}", authority, "secure.")
        server = Server(_program(home, port, controller, keystore, secure), home)
        await server.start()
        try:
            async with admin(secure.settings(ADMIN)) as client:
                await apply(client, grants(secure.prefix))
            yield secure
        finally:
            await server.stop()


def _program(home: Home, port: int, controller: int, keystore: Path, secure: SecureKafka) -> Program:
    jars = kafka_jars(Settings().cache, progress=lambda _: None)
    scratch = home.kafka / "tmp"
    run = (str(java()), *local.JVM, f"-Djava.io.tmpdir={scratch}", "-cp", f"{jars}/*")
    properties, data = home.kafka / "server.properties", home.kafka / "data"
    environment = of_servers() | local.LOCALE

    async def prepare() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        write_private(properties, _properties(port, controller, data, keystore, secure.authority))
        if not data.exists():
            users = (ADMIN, BROKER, *map(user, SERVICES))
            scram = [
                word
                for name in users
                for word in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={secret(name)}]")
            ]
            tool = ("kafka.tools.StorageTool", "format", "--cluster-id", local.cluster_id(uuid.uuid4()), *scram)
            await run_once(Command("kafka", (*run, *tool, "--config", str(properties)), environment), home)

    async def ready() -> None:
        try:
            async with asyncio.timeout(PATIENCE), admin(secure.settings(ADMIN)) as client:
                if not (await client.describe_cluster())["brokers"]:
                    raise NotReady("the broker has not joined its cluster")
        except (KafkaError, OSError) as error:
            raise NotReady(repr(error)) from error

    command = Command("kafka", (*run, "kafka.Kafka", str(properties)), environment)
    return Program("Kafka that asks who one is", command, port, ready, prepare)


def _properties(port: int, controller: int, data: Path, keystore: Path, authority: Path) -> str:
    """The local stack's, with another listener."""
    plain = local.PROPERTIES.format(host=LOOPBACK, port=port, controller=controller, data=json.dumps(str(data))[1:-1])
    changed: Mapping[str, str] = {
        f"=PLAINTEXT://{LOOPBACK}:{port}": f"=SASL_SSL://{LOOPBACK}:{port}",
        "map=PLAINTEXT:PLAINTEXT": "map=SASL_SSL:SASL_SSL",
    }
    for before, after in changed.items():
        assert before in plain
        plain = plain.replace(before, after)
    return plain + SECURITY.format(
        broker=BROKER, admin=ADMIN, password=secret(BROKER), keystore=keystore, authority=authority
    )


# --- certificates ----------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> tuple[Path, Path]:
    """The certificate of an authority, and the key and certificate that it gave the broker."""
    key, ours = ec.generate_private_key(ec.SECP256R1()), _name("Temas tests")
    authority = (
        _certificate(ours, ours, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    brokers = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _certificate(_name("broker"), ours, brokers.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = brokers.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "broker.pem").write_bytes(private + certificate.public_bytes(pem) + authority.public_bytes(pem))
    return folder / "ca.pem", folder / "broker.pem"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )

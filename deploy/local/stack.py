"""The whole stack, composed: what is checked first, what starts when, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local import checks, kafka, postgres, roles, services
from deploy.local.home import Home
from deploy.local.jars import Progress, folder, kafka_jars
from deploy.local.java import java
from deploy.local.keys import ADMIN, WITH_DATABASE, Keys, keys_of, url
from deploy.local.program import Program, Stage, Task
from deploy.local.settings import SERVICES, Settings


@dataclass(frozen=True)
class Stack:
    """One stack: its settings, the folder it keeps its state in, and its keys."""

    settings: Settings
    home: Home
    keys: Keys

    @classmethod
    def of(cls, settings: Settings) -> Stack:
        """The stack of `settings`, its state folder made where there is none. Raises Refused where that can't be."""
        home = Home.at(settings.home)
        home.claim()
        return cls(settings, home, keys_of(home))

    def make_ready(self, progress: Progress) -> None:
        """Look at all that a start needs, fetch what is missing, and write `local.env`. Raises Refused."""
        checks.free_ports(self.ports())
        if self.settings.starts_kafka:
            java()
            kafka_jars(self.settings.cache, progress)
        if self.settings.starts_postgres:
            postgres.guise(self.home)
        services.write_environment(self.home, self.settings, self.keys)

    def ports(self) -> Mapping[str, int]:
        """Every port that the stack takes, by who takes it."""
        wanted = {service: services.port(service, self.settings) for service in SERVICES}
        if self.settings.starts_postgres:
            wanted["postgres"] = self.settings.port("postgres")
        if self.settings.starts_kafka:
            wanted |= {"kafka": self.settings.port("kafka"), "controller": self.settings.port("controller")}
        return wanted

    def stages(self) -> tuple[Stage, ...]:
        """What starts, in order: the servers, who may do what, schemas and topics, the services."""
        told = {each: services.environment_of(each, self.settings, self.keys) for each in SERVICES}
        return (
            (self._postgres(), self._kafka()),
            (Task("roles", self._grant),) if self.settings.starts_postgres else (),
            tuple(services.migration(each, self.home, told[each]) for each in SERVICES),
            tuple(services.program(each, self.ports()[each], told[each]) for each in SERVICES),
        )

    def _postgres(self) -> Program | Task:
        if self.settings.starts_postgres:
            return postgres.program(self.home, self.settings.port("postgres"), self.keys.passwords[ADMIN])
        address = self.settings.database_address
        return Task(
            f"PostgreSQL at {address}", lambda: asyncio.to_thread(checks.answers, address, "TEMAS_DATABASE_URL")
        )

    def _kafka(self) -> Program | Task:
        if self.settings.starts_kafka:
            jars = folder(self.settings.cache)
            ports = self.settings.port("kafka"), self.settings.port("controller")
            return kafka.program(self.home, *ports, java(), jars)
        address = str(self.settings.kafka_bootstrap).split(",")[0]
        return Task(f"Kafka at {address}", lambda: asyncio.to_thread(checks.answers, address, "TEMAS_KAFKA_BOOTSTRAP"))

    async def _grant(self) -> None:
        server = url(self.settings.port("postgres"), self.keys.passwords[ADMIN], database="postgres")
        await roles.grant(server, ADMIN, {role: self.keys.passwords[role] for role in WITH_DATABASE})

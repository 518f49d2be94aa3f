"""`python -m deploy.kafka`: what Temas needs of a Kafka that asks who one is."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from typer import Option

from deploy.kafka.acls import grants
from deploy.kafka.apply import apply
from shared import kafka
from shared.settings import KafkaSettings, from_environment

main = typer.Typer(help="What Temas needs of a Kafka that asks who one is.", no_args_is_help=True, add_completion=False)


@main.command()
def acls(
    *,
    servers: Annotated[str, Option(help="host:port of the brokers.")],
    config: Annotated[str, Option(help="A file that says how an administrator logs in.")] = "admin.properties",
    prefix: Annotated[str, Option(help="As TEMAS_KAFKA_PREFIX.")] = "",
) -> None:
    """Print the commands of Kafka's own tool that give each service's user its rights."""
    for grant in grants(prefix):
        print(grant.command("kafka-acls.sh", servers, config))


@main.command("apply")
def give() -> None:
    """Give each service's user its rights, as the administrator that TEMAS_KAFKA_* name."""
    settings = from_environment(KafkaSettings)
    print(f"{asyncio.run(_given(settings))} rights given")


async def _given(settings: KafkaSettings) -> int:
    async with kafka.admin(settings) as client:
        return await apply(client, grants(settings.prefix))


if __name__ == "__main__":
    main()

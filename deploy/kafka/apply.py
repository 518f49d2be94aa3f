"""Giving the rights, where there is no tool of Kafka's at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest

from deploy.kafka.acls import Grant

# The numbers of Kafka's protocol.
TOPIC, GROUP = 2, 3
LITERAL, ALLOW = 3, 3
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5}
EVERY_HOST = "*"


async def apply(client: AIOKafkaAdminClient, grants: Iterable[Grant]) -> int:
    """Give all of `grants`, as the administrator that `client` is; how many rights that are. Raises KafkaError."""
    given = 0
    for request in requests(grants):
        # aiokafka 0.14 knows the message, and its administrator has no method that sends it.
        answer = await client._send_to_controller(request)
        for code, message in answer.creation_responses:
            if code:
                raise for_code(code)(message)
        given += 1
    return given


def requests(grants: Iterable[Grant]) -> Iterator[CreateAclsRequest]:
    """One for each right: an operation on a topic or a group."""
    for grant in grants:
        resources = [(TOPIC, name) for name in grant.topics] + [(GROUP, name) for name in grant.groups]
        for kind, name in resources:
            for operation in grant.operations:
                principal = f"User:{grant.user}"
                yield CreateAclsRequest(kind, name, LITERAL, principal, EVERY_HOST, OPERATIONS[operation], ALLOW)

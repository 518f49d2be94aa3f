"""A blocking client for a stack: a connection a service, kept alive. Light, so that looking costs little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.bench.events import basic
from tests.bench.stack import SERVICES, BenchFailed, Stack

TIMEOUT = 30.0


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]


class Client:
    """Calls with the secret key; not for several threads."""

    def __init__(self, stack: Stack) -> None:
        self.headers = {"Authorization": basic(stack.told["TEMAS_SECRET_KEY"]), "Content-Type": "application/json"}
        self.connections = {
            service: HTTPConnection(urlsplit(stack.url(service)).netloc, timeout=TIMEOUT) for service in SERVICES
        }

    def call(self, service: str, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Answer:
        """The answer, of JSON. Raises BenchFailed where it is an error other than "not there" and "not now"."""
        connection = self.connections[service]
        connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), self.headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300 and answer.status not in (404, 503):
            raise BenchFailed(f"{service} answered {method} {path} with {answer.status}: {text[:200]!r}")
        return Answer(answer.status, json.loads(text) if text else {})

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()

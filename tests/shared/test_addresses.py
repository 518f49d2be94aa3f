"""What is within a name and what parts an address, through the whole stack of an application."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

import services
from shared.addresses import Name
from tests.application import made


def people() -> APIRouter:
    router = APIRouter()

    @router.get("/people/{person:path}/timeline")
    async def timeline(person: str) -> list[str]:
        return ["timeline", person]

    @router.get("/people/{person:path}")
    async def whole(person: str) -> list[str]:
        return ["person", person]

    @router.get("/events/{event}")
    async def event(event: str) -> list[str]:
        return ["event", event]

    return router


app = made(routers=[people()])


async def asked(address: str) -> object:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tests") as client:
        return (await client.get(address)).json()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("people/a", ["person", "a"]),
        ("people/a/timeline", ["timeline", "a"]),
        ("people/a%2Ftimeline", ["person", "a/timeline"]),
        ("people/a%2ftimeline/timeline", ["timeline", "a/timeline"]),
        ("people/a/b/timeline", ["timeline", "a/b"]),
        ("people/a%252Ftimeline", ["person", "a%2Ftimeline"]),
        ("people/100%25", ["person", "100%"]),
        ("people/a%2541", ["person", "a%41"]),
        ("people/%C3%BC%20%3A", ["person", "ü :"]),
        ("events/50%25%20off", ["event", "50% off"]),
        ("events/either%2For", ["event", "either/or"]),
    ],
)
async def test_an_encoded_slash_is_part_of_a_name(address: str, found: list[str]) -> None:
    assert await asked(address) == found


@given(st.text(min_size=1).filter(lambda name: name not in (".", "..")))
async def test_every_name_that_is_encoded_arrives(name: str) -> None:
    encoded = quote(name.encode("utf-8", "surrogatepass"), safe="")
    name = name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert await asked(f"people/{encoded}") == ["person", name]
    assert await asked(f"people/{encoded}/timeline") == ["timeline", name]


def routes() -> Iterator[Route]:
    for package in pkgutil.walk_packages(services.__path__, "services."):
        if ".api" in package.name:
            for each in vars(importlib.import_module(package.name)).values():
                if isinstance(each, APIRouter):
                    yield from (route for route in each.routes if isinstance(route, Route))


def test_all_routes_of_all_services_take_names_so() -> None:
    convertors = [each for route in routes() for each in route.param_convertors.values()]
    assert len(convertors) > 40
    assert all(isinstance(each, Name) for each in convertors)

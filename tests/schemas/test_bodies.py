"""What the bodies of requests take is what their schemas say: nothing is read out of another type."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import services
import shared

PROBES = ("1", "1.5", "true", "yes", "2026-03-01", 0, 1, 1.5, 0.0, 1_772_359_200, True, [1], {"1": 1}, None)


def bodies() -> Iterator[type[BaseModel]]:
    """The bodies that clients send: those that refuse a field that they do not know."""
    packages = (
        *pkgutil.walk_packages(services.__path__, "services."),
        *pkgutil.iter_modules(shared.__path__, "shared."),
    )
    for package in packages:
        if ".schemas" in package.name or package.name.endswith("_bodies"):
            for each in vars(importlib.import_module(package.name)).values():
                if isinstance(each, type) and issubclass(each, BaseModel) and _is_sent(each):
                    yield each


def _is_sent(model: type[BaseModel]) -> bool:
    return model.model_config.get("extra") == "forbid" and not model.__name__.endswith("Answer")


FIELDS = sorted(
    {(f"{each.__module__}.{each.__name__}.{name}", each, name) for each in bodies() for name in each.model_fields},
    key=lambda field: field[0],
)


@pytest.mark.parametrize(("body", "name"), [field[1:] for field in FIELDS], ids=[field[0] for field in FIELDS])
def test_a_field_takes_only_what_its_schema_allows(body: type[BaseModel], name: str) -> None:
    field = body.model_fields[name]
    said = body.model_json_schema(mode="validation")
    schema = said["properties"][field.alias or name] | {"$defs": said.get("$defs", {})}
    allowed = jsonschema_rs.validator_for(schema)
    assert [probe for probe in PROBES if not allowed.is_valid(probe) and _takes(field, probe)] == []


def test_all_four_services_have_bodies() -> None:
    found = {name.split(".")[1] for name, _, _ in FIELDS if name.startswith("services.")}
    assert found == {"ingest", "profile", "scoring", "personalize"}


def _takes(field: FieldInfo, probe: Any) -> bool:
    kind: Any = Annotated[field.annotation, None, *field.metadata]  # without its alias, which means nothing here
    try:
        TypeAdapter(kind).validate_python(probe)
    except (ValidationError, PydanticUserError):
        return False
    return True

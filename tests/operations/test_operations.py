"""What operators are given is true: the metrics that alerts and panels ask for are exported, the targets are right."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.local.home import Home
from deploy.local.settings import Settings as LocalSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = {"ingest": 8001, "profile": 8002, "scoring": 8003, "personalize": 8004}
NAME = re.compile(r"\btemas_[a-z0-9_]+")


def exported() -> set[str]:
    """The names of all series that the four services export."""
    for module in ["shared.metrics", *(f"services.{service}.metrics" for service in SERVICES)]:
        importlib.import_module(module)
    names: set[str] = set()
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names.update(family.name + suffix for suffix in suffixes)
    return names


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DEPLOY / "grafana" / "temas.json").read_text())
    return document


def panel_queries() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_what_is_exported(alert: dict[str, Any]) -> None:
    assert set(NAME.findall(alert["expr"])) <= exported()
    assert alert["annotations"]["summary"]


@pytest.mark.parametrize(("title", "query"), list(panel_queries()))
def test_a_panel_asks_for_what_is_exported(title: str, query: str) -> None:
    assert NAME.findall(query), title
    assert set(NAME.findall(query)) <= exported(), title


def test_the_dashboard_shows_every_service() -> None:
    shown = {name for _, query in panel_queries() for name in NAME.findall(query)}
    for service in SERVICES:
        assert any(name.startswith(f"temas_{service}_") for name in shown), service


def test_prometheus_scrapes_the_four_services_where_they_are() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        job["job_name"]: target
        for job in document["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    }
    assert targets == {service: f"127.0.0.1:{port}" for service, port in SERVICES.items()}
    for service, port in SERVICES.items():
        settings = importlib.import_module(f"services.{service}.settings").Settings
        assert settings.model_fields["port"].default == port
    for job in document["scrape_configs"]:  # relative to the file, as Prometheus reads it
        written = DEPLOY / "prometheus" / job["authorization"]["credentials_file"]
        assert written.resolve() == Home.at(LocalSettings.model_fields["home"].default).secret_key
    for file in document["rule_files"]:
        assert (DEPLOY / "prometheus" / file).exists()

"""Offers, people and questions for tests of the domain: everything has a default."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import numpy as np

from services.personalize.domain.customers import Exposure, Known, Reliance, Request
from services.personalize.domain.decision import Policy, decide
from services.personalize.domain.draws import Chance
from services.personalize.domain.evidence import Evidence
from services.personalize.domain.features import NAMES
from services.personalize.domain.gates import Rests
from services.personalize.domain.learner import Posterior, Prior, posterior
from services.personalize.domain.offers import Offer, Shelf, shelves
from shared.events import Choice, View
from shared.identifiers import Identifier
from tests.builders import START

RESTS = Rests(dismissed=timedelta(days=30), accepted=timedelta(days=10))


def offer(id: str = "tea", **fields: Any) -> Offer:
    """An offer in the placement `home`, for everybody."""
    return Offer(**{"id": id, "version": 1, "name": id, "kind": "content", "placements": ("home",), **fields})


def shelf(*offers: Offer) -> Shelf:
    """The shelf of `home`."""
    return shelves(offers).get("home", Shelf())


def request(profile: str = "anonymous_id:a-1", **fields: Any) -> Request:
    told = {"placement": "home", "channel": "web", "limit": 10, **fields}
    return Request(profile=Identifier.parse(profile), **told)


def policy(**fields: Any) -> Policy:
    """Nobody is held out and nothing is left to chance, unless `fields` says so."""
    return Policy(**{"rests": RESTS, "holdout": 0.0, "explore": 0.0, **fields})


def nothing_learned() -> Posterior:
    empty = Evidence.of([], np.zeros(0, np.intp), np.zeros((0, len(NAMES))), np.zeros((0, 4)))
    return posterior(empty, Prior(0.02), Prior(0.1))


def decided(
    *offers: Offer,
    asked: Request | None = None,
    view: View | None = None,
    exposures: Iterable[Exposure] = (),
    reliance: Reliance = "current",
    learned: Posterior | None = None,
    chance: Chance | None = None,
    **rules: Any,
) -> Choice:
    """The decision among `offers`; `rules` are the policy's."""
    return decide(
        asked or request(),
        Known(view, tuple(exposures), reliance),
        shelf=shelf(*offers),
        posterior=learned or nothing_learned(),
        policy=policy(**rules),
        chance=chance or np.random.default_rng(1),
        now=START,
        decision_id="d-1",
    )

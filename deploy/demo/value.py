"""What the customers are worth: models fitted on the first 39 weeks, held against what happened in the 39 after.

The models never see the second half: they are fitted on what was known on 1 October 1997, though the whole history is
in the system. That is what `as_of` is for.
"""

from __future__ import annotations

import asyncio
import time

from deploy.demo import value_tables
from deploy.demo.answers import Model
from deploy.demo.client import Temas
from deploy.demo.errors import DemoFailed
from deploy.demo.screen import Screen

AS_OF = "1997-10-01T00:00:00Z"
"""The end of the paper's calibration time: 39 weeks after the first order."""

UNTIL = "1998-07-01T00:00:00Z"
"""The end of the data, another 39 weeks on."""

BEST = 10

PATIENCE = 120.0
"""Seconds for a fit; it takes about two."""


async def tell(temas: Temas, screen: Screen) -> None:
    """Fit, and show what was expected beside what came."""
    screen.chapter("What customers are worth")
    model = await fit(temas, screen)
    screen.show(value_tables.parameters(model))
    screen.show(value_tables.best_customers(await temas.top_customers(AS_OF, UNTIL, BEST)))
    screen.show(value_tables.totals(await temas.value_report(AS_OF, UNTIL)))
    screen.show(value_tables.rfm(await temas.rfm_report(AS_OF, UNTIL)))


async def fit(temas: Temas, screen: Screen) -> Model:
    """Models of what was known at AS_OF, active. Raises DemoFailed where the fit does, or where it takes too long."""
    began = time.monotonic()
    model_id = await temas.refit(AS_OF)
    with screen.waiting(f"Fitting three models on what was known at {AS_OF[:10]}"):
        while (model := await _version(temas, model_id)).status not in ("active", "failed"):
            if time.monotonic() > began + PATIENCE:
                raise DemoFailed(f"model {model_id} is still {model.status} after {PATIENCE:.0f} s: see `make logs`.")
            await asyncio.sleep(0.1)
    if model.status == "failed":
        raise DemoFailed(f"the models could not be fitted: {model.reason}")
    return model


async def _version(temas: Temas, model_id: str) -> Model:
    found = [model for model in await temas.models() if model.id == model_id]
    if not found:
        raise DemoFailed(f"scoring does not know the model {model_id} that it has just begun to fit.")
    return found[0]

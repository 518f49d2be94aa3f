"""Facts about a customer that rules see, in segments and in offers alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.events import View

PROVENANCE = "provenance"
"""The variable that says where the others come from."""


def provenance(view: View) -> Mapping[str, Any]:
    """Who said what is known: of each trait the source, that source's trust, and when."""
    return {
        "traits": {
            name: {"source": trait.source, "trust": trait.trust, "at": trait.at} for name, trait in view.traits.items()
        }
    }

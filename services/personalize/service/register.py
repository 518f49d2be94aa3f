"""The evidence of one placement in memory, in a form that can be fitted without looking at each row again."""

from __future__ import annotations

import numpy as np

from services.personalize.domain.evidence import Counts, Evidence
from services.personalize.domain.features import NAMES

FIRST_ROOM = 64


class Register:
    """Counts by (offer, features), kept in arrays that grow."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, tuple[float, ...]], int] = {}
        self.offers: dict[str, int] = {}
        self.owner = np.zeros(FIRST_ROOM, np.intp)
        self.features = np.zeros((FIRST_ROOM, len(NAMES)))
        self.counts = np.zeros((FIRST_ROOM, len(Counts._fields)))

    def put(self, offer_id: str, features: tuple[float, ...], counts: Counts) -> bool:
        """Set what is counted of this cell. Gives whether that is news."""
        row = self.rows.get((offer_id, features))
        if row is None:
            row = self._new_row(offer_id, features)
        elif (self.counts[row] == counts).all():
            return False
        self.counts[row] = counts
        return True

    def evidence(self) -> Evidence:
        """All of it, as a value: what is put later does not show in it."""
        count = len(self.rows)
        return Evidence.of(list(self.offers), self.owner[:count], self.features[:count], self.counts[:count])

    @property
    def shown(self) -> int:
        """Exposures that have taught."""
        return int(self.counts[: len(self.rows), 0].sum())

    def _new_row(self, offer_id: str, features: tuple[float, ...]) -> int:
        row = self.rows[offer_id, features] = len(self.rows)
        if row == len(self.owner):
            self.owner, self.features, self.counts = map(_doubled, (self.owner, self.features, self.counts))
        self.owner[row] = self.offers.setdefault(offer_id, len(self.offers))
        self.features[row] = features
        return row


def _doubled(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.zeros_like(array)])

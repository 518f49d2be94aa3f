"""MBG/NBD (Batislam, Denizel & Filiztekin 2007): who is still a customer. Arrays: one entry a customer; weeks.

Unlike in BG/NBD a customer may stop right after the first purchase, so that someone who bought once, long ago, does
not count as alive for ever.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from services.scoring.domain import dropout
from services.scoring.domain.dropout import Cells
from services.scoring.domain.fitting import Array, Estimate


def fit(cells: Cells) -> Estimate:
    """(r, α, a, b). Raises NotFitted."""
    return dropout.fit(cells, at_first=True, name="MBG/NBD")


def p_alive(parameters: Array, x: Array, t_x: Array, T: Array) -> Array:
    """1 / (1 + a/(b+x) · ((α+T)/(α+t_x))^(r+x))."""
    r, alpha, a, b = parameters
    return np.asarray(expit(-((r + x) * np.log((alpha + T) / (alpha + t_x)) + np.log(a / (b + x)))))


def p_return(parameters: Array, weeks: float, x: Array, t_x: Array, T: Array) -> Array:
    """That a customer buys again within `weeks`: alive, and not waiting longer than that."""
    r, alpha, _, _ = parameters
    waits_longer = np.exp((r + x) * np.log((alpha + T) / (alpha + T + weeks)))
    return np.asarray(p_alive(parameters, x, t_x, T) * (1 - waits_longer))

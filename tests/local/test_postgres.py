"""How much PostgreSQL may keep in memory."""

from __future__ import annotations

import pytest

from deploy.local.postgres import buffers


@pytest.mark.parametrize(("gigabytes", "megabytes"), [(0.25, 128), (1, 256), (4, 1024), (8, 2048), (512, 2048)])
def test_it_keeps_a_quarter_of_the_machine_within_bounds(gigabytes: float, megabytes: int) -> None:
    assert buffers(int(gigabytes * 2**30)) == f"{megabytes}MB"

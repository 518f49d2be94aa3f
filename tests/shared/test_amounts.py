"""What is an amount: all services read one alike."""

from __future__ import annotations

import pytest

from shared.amounts import first_of


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ((29.33,), 29_330_000),
        (("29.33",), 29_330_000),
        ((None, "n/a", 5), 5_000_000),
        ((True, float("nan"), "Infinity", 1e300, [1]), 0),
        (("1e1000000", "-1e999999999999999999", 3), 3_000_000),
        ((0, 7), 0),
        ((-3.5,), -3_500_000),
        (("1_000", " 5. "), 5_000_000),
        ((0.1,), 100_000),
        ((10**12, 10**12 + 1), 10**18),
        ((10**5000, -(10**12) - 1, 2), 2_000_000),
        ((), 0),
    ],
)
def test_an_amount_is_the_first_that_is_one(candidates: tuple[object, ...], expected: int) -> None:
    assert first_of(*candidates) == expected

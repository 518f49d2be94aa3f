"""Pages: a cursor brings back where the last page ended; what we never gave out is not taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.paging import cursor, place


@given(st.text(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False))
def test_a_cursor_brings_back_the_place(text: str, number: int, share: float) -> None:
    assert place(cursor(text, number, share), str, int, float) == (text, number, share)


@given(st.text(max_size=300))
def test_a_cursor_travels_in_an_address_as_it_is(text: str) -> None:
    assert set(cursor(text)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "foreign",
    [
        "x",
        "%%%",
        "ü",
        "bm90IGpzb24",
        cursor("a"),
        cursor("a", 1, 2),
        cursor(1, "a"),
        base64.b64encode(b'{"a": 1}').decode(),
    ],
)
def test_what_we_never_gave_out_is_refused_by_name(foreign: str) -> None:
    with pytest.raises(Invalid, match="cursor") as refused:
        place(foreign, str, int)
    assert refused.value.details == ({"path": "cursor", "code": "invalid_cursor"},)


@given(st.text(max_size=50))
def test_no_text_at_all_gets_anything_but_a_place_or_a_refusal(text: str) -> None:
    try:
        found = place(text, str)
    except Invalid:
        return
    assert isinstance(found[0], str)

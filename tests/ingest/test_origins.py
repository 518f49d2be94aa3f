"""From which pages browsers may send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.origins import allowed, normal

SHOP = frozenset({"https://shop.example", "http://localhost:3000"})


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "https://Shop.Example",
        "HTTPS://shop.example",
        "https://shop.example:443",
        "http://localhost:3000",
    ],
)
def test_a_listed_page_may_send(origin: str) -> None:
    assert allowed(origin, SHOP)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://sub.shop.example",
        "http://localhost",
        "null",
        "*",
        "shop.example",
        "https://shop.example@evil.example",
        "https://shop.example, https://evil.example",
        "https://shop.example" + "/" * 100_000,
    ],
)
def test_a_page_that_is_not_listed_may_not(origin: str) -> None:
    assert not allowed(origin, SHOP)


@pytest.mark.parametrize("origin", [None, ""])
def test_what_is_no_browser_may_send(origin: str | None) -> None:
    assert allowed(origin, SHOP)


@pytest.mark.parametrize("origin", [None, "https://anywhere.example", "null"])
def test_a_source_that_lists_none_takes_from_everywhere(origin: str | None) -> None:
    assert allowed(origin, frozenset())


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://Shop.Example/", "https://shop.example"),
        (" http://shop.example:80 ", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_what_people_write_is_kept_as_browsers_send_it(written: str, kept: str) -> None:
    assert normal(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        "", "null", "*", "https://*.shop.example", "shop.example", "//shop.example", "https://", "https:///",
        "https://shop.example/path", "https://shop.example?a=b", "https://shop.example#a", "https://a@shop.example",
        "https://shop.example:port", "https://shop.example:99999", "https://shop example", "https://[::1", "file:///",
        "https://.shop.example", "https://shop.example\n.evil.example", "https://" + "a" * 70 + ".example",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_not_kept(written: str) -> None:
    assert normal(written) is None


@settings(max_examples=60)
@given(st.text(st.sampled_from("htps:/[]@.a1*%\u0130 \t?#"), max_size=20))
def test_a_normal_form_stays_as_it_is(text: str) -> None:
    kept = normal(text)
    assert kept is None or normal(kept) == kept

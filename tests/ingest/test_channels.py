"""Through which channel a call came."""

from __future__ import annotations

from typing import Any

import pytest

from services.ingest.domain.channels import channel

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"


def of(
    context: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    *,
    sdk: object = None,
    agent: str = "",
    usual: str = "unknown",
) -> str:
    return channel(context or {}, properties or {}, sdk, agent, usual)


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("store", "store"),
        ("Call Centre", "call_centre"),
        ("call-center", "call_centre"),
        (" E-mail ", "email"),
        ("IVR", "ivr"),
    ],
)
def test_the_client_says_it(word: str, spelled: str) -> None:
    assert of({"channel": word}) == spelled
    assert of({}, {"channel": word}) == spelled


def test_the_context_comes_before_the_properties_and_both_before_the_library() -> None:
    library = {"library": {"name": "analytics-python"}}
    assert of({"channel": "store", **library}, {"channel": "web"}) == "store"
    assert of(library, {"channel": "web"}) == "web"
    assert of(library) == "server"


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("analytics.js", "web"),
        ("@segment/analytics-next", "web"),
        ("RudderLabs JavaScript SDK", "web"),
        ("analytics-ios", "mobile"),
        ("analytics-kotlin", "mobile"),
        ("@segment/analytics-react-native", "mobile"),
        ("com.rudderstack.android.sdk.core", "mobile"),
        ("analytics-python", "server"),
        ("@segment/analytics-node", "server"),
        ("analytics-java", "server"),
        ("Analytics.NET", "server"),
        ("analytics-go", "server"),
        ("axios", "unknown"),
        ("our own", "unknown"),
    ],
)
def test_the_library_tells(library: str, expected: str) -> None:
    assert of({"library": {"name": library, "version": "1.2.3"}}) == expected


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (BROWSER, "web"),
        ("okhttp/4.9", "mobile"),
        ("curl/8.5.0", "server"),
        ("analytics-python/2.4.0", "server"),
        ("Lynx", "unknown"),
    ],
)
def test_the_user_agent_tells(agent: str, expected: str) -> None:
    assert of({"userAgent": agent}) == expected
    assert of(agent=agent) == expected


def test_the_persons_user_agent_comes_before_that_of_the_request() -> None:
    assert of({"userAgent": BROWSER}, agent="curl/8.5.0") == "web"


def test_where_nothing_tells_it_is_what_the_source_usually_is() -> None:
    assert of() == "unknown"
    assert of(usual="server") == "server"


@pytest.mark.parametrize("odd", [17, ["web"], {"a": 1}, "x" * 65, " ", True])
def test_what_is_no_word_is_no_channel(odd: object) -> None:
    assert of({"channel": odd, "library": odd, "userAgent": odd}, {"channel": odd}, sdk=odd) in ("unknown", "web")
    assert of({"channel": odd}) == "unknown"

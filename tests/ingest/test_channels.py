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


CHANNELS = ("web", "mobile", "store", "call_centre", "social", "email", "device", "location", "sms", "push", "server")


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_can_be_said_wherever_clients_say_it(name: str) -> None:
    for word in (name, name.upper(), name.replace("_", " "), name.replace("_", "-"), f"  {name} "):
        assert of({"channel": word}) == name
        assert of({}, {"channel": word}) == name
        assert of(sdk=word) == name


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("Call Centre", "call_centre"),
        ("call-center", "call_centre"),
        ("CallCenter", "call_centre"),
        ("Contact Center", "call_centre"),
        (" E-mail ", "email"),
        ("e_mail", "email"),
        ("In-Store", "store"),
        ("in store", "store"),
        ("POS", "store"),
        ("Point of Sale", "store"),
        ("IoT", "device"),
        ("smart device", "device"),
        ("Social Media", "social"),
        ("geofence", "location"),
        ("GPS", "location"),
        ("Website", "web"),
        ("iOS", "mobile"),
        ("mobile app", "mobile"),
        ("Text Message", "sms"),
        ("push notification", "push"),
        ("server-side", "server"),
    ],
)
def test_spellings_of_one_channel_are_one(word: str, spelled: str) -> None:
    assert of({"channel": word}) == spelled


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("IVR", "ivr"),
        ("Kiosk", "kiosk"),
        ("Instagram", "instagram"),
        ("Çağrı Merkezi", "çağrı_merkezi"),
        ("app", "app"),
    ],
)
def test_a_word_of_their_own_stays_what_it_is(word: str, kept: str) -> None:
    assert of({"channel": word}) == kept
    assert of({"channel": word, "library": "analytics-ios"}, agent=BROWSER, usual="web") == kept


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
        ("analytics-roku", "device"),
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
        ("Roku/DVP-9.10 (519.10E04111A)", "device"),
        ("Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36", "device"),
        ("Mozilla/5.0 (Windows NT 5.1) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "email"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "email"),
        ("MyApp/3 CFNetwork/1410 Darwin/22.6.0", "mobile"),
        ("Lynx", "unknown"),
    ],
)
def test_the_user_agent_tells(agent: str, expected: str) -> None:
    assert of({"userAgent": agent}) == expected
    assert of(agent=agent) == expected


def test_the_persons_user_agent_comes_before_that_of_the_request() -> None:
    assert of({"userAgent": BROWSER}, agent="curl/8.5.0") == "web"


def test_where_nothing_tells_it_is_what_the_source_usually_is() -> None:
    assert of(usual="store") == "store"
    assert of({"library": "our own", "userAgent": "ours/1"}, agent="ours/1", usual="device") == "device"


def test_where_the_source_says_nothing_it_is_unknown() -> None:
    assert of() == "unknown"
    assert of({"library": {"name": "our own"}, "userAgent": "ours/1"}) == "unknown"


def test_what_is_no_word_is_passed_over() -> None:
    assert of({"channel": {"type": "x"}}, {"channel": "store"}) == "store"
    assert of({"channel": ""}, {"channel": 7}, sdk="mobile") == "mobile"


@pytest.mark.parametrize("odd", [17, ["web"], {"a": 1}, "x" * 65, " ", "--", True])
def test_what_is_no_word_is_no_channel(odd: object) -> None:
    assert of({"channel": odd, "library": odd, "userAgent": odd}, {"channel": odd}, sdk=odd) in ("unknown", "web")
    assert of({"channel": odd}) == "unknown"

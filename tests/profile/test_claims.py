"""What somebody can do to others' identities with a public key: nothing. And what everybody's SDK does still works."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.domain.graph import Assignment, Limits, resolve, standings
from services.profile.domain.identity import Edge
from services.profile.domain.precedence import Precedence, sighted
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.builders import after
from tests.profile.lives import LIMITS, identify, lives, page, stated, touchpoint

LONG_AGO = -60 * 24 * 365 * 25
"""Minutes: the year 2001."""

ROOMY = Limits(by_kind={"anonymous_id": 1000}, others=100)

VICTIM, ATTACKER = Identifier("user_id", "victim"), Identifier("user_id", "attacker")
DEVICE, EMAIL, CRM = Identifier("anonymous_id", "device"), Identifier("email", "v@example.com"), Identifier("crm", "7")


def assigned(*life: Touchpoint, limits: Limits = ROOMY) -> Assignment:
    statements = stated(life)
    return resolve(standings(statements), statements, limits)


def by_client(build: Any, id: str, minutes: float, *rest: Any, late: float = 0, **who: Any) -> Touchpoint:
    """What a client sends that says it happened at `minutes`, received `late` minutes after that."""
    touched: Touchpoint = build(
        id, minutes, *rest, trust="client", source="page", received_at=after(minutes + late), **who
    )
    return touched


def attack(id: str, **what: Any) -> Touchpoint:
    """What the attacker sends a day after the victim was there, as if it had been in the year 2001."""
    day = 60 * 24
    return by_client(identify, id, LONG_AGO, late=day - LONG_AGO, user="attacker", **what)


BY_A_CLIENT: dict[str, Any] = {"trust": "client", "source": "page"}
BY_A_SERVER: dict[str, Any] = {"trust": "server", "source": "crm"}


@pytest.mark.parametrize("sender", [BY_A_CLIENT, BY_A_SERVER])
def test_a_backdated_identify_takes_neither_an_email_nor_an_id_nor_a_device(sender: dict[str, Any]) -> None:
    mine = identify(
        "1",
        user="victim",
        anonymous="device",
        traits={"email": "v@example.com"},
        external_ids=(Identifier("crm", "7"),),
        **sender,
    )
    theirs = attack("2", anonymous="device", traits={"email": "v@example.com"}, external_ids=(CRM,))
    names = assigned(mine, theirs).names
    assert {names[each] for each in (DEVICE, EMAIL, CRM)} == {VICTIM}
    assert names[ATTACKER] == ATTACKER


def test_what_a_server_states_goes_before_what_a_client_stated_first() -> None:
    squatted = by_client(identify, "1", 0, user="attacker", traits={"email": "v@example.com"}, external_ids=(CRM,))
    told = identify("2", 60, user="victim", traits={"email": "v@example.com"}, external_ids=(CRM,), **BY_A_SERVER)
    names = assigned(squatted, told).names
    assert names[EMAIL] == names[CRM] == VICTIM


@pytest.mark.parametrize("sender", [BY_A_CLIENT, BY_A_SERVER])
def test_twelve_hundred_logins_push_out_neither_device_nor_email(sender: dict[str, Any]) -> None:
    mine = identify("1", user="victim", anonymous="device", traits={"email": "v@example.com"}, **sender)
    flood = [
        by_client(
            identify,
            f"x{number}",
            LONG_AGO,
            late=60 * 24 - LONG_AGO + number,
            user="victim",
            anonymous=f"junk-{number}",
            traits={"email": f"{number}@example.com"},
        )
        for number in range(1200)
    ]
    assert {assigned(*flood, mine).names[each] for each in (DEVICE, EMAIL)} == {VICTIM}


def test_what_a_server_states_finds_room_however_full_clients_have_filled_it() -> None:
    flood = [
        by_client(
            identify, f"x{number}", number, user="victim", anonymous=f"a{number}", traits={"email": f"{number}@y.com"}
        )
        for number in range(1200)
    ]
    told = identify("told", 5000, user="victim", anonymous="device", traits={"email": "v@example.com"}, **BY_A_SERVER)
    who = assigned(*flood, told)
    assert {who.names[each] for each in (DEVICE, EMAIL)} == {VICTIM}
    assert len([each for each, name in who.names.items() if name == VICTIM]) == 1 + 1000 + 100


def test_an_sdk_s_alias_at_a_first_login_says_nothing_of_two_users() -> None:
    """Whoever then calls themselves by the visitor's id would be one person with the victim."""
    first_login = touchpoint("1", kind="alias", previous="device", user="victim", anonymous="device", **BY_A_CLIENT)
    posing = page("2", 1, user="device", **BY_A_CLIENT)
    assert {edge.kind for edge in stated([first_login])} == {"seen", "login"}
    assert assigned(first_login, posing).names[Identifier("user_id", "device")] == Identifier("user_id", "device")
    assert assigned(first_login, page("0", -1, anonymous="device", **BY_A_CLIENT)).names[DEVICE] == VICTIM


def test_a_page_dated_long_ago_does_not_become_what_somebody_was_first_seen_with() -> None:
    """It decides which side of every experiment they are on."""
    mine = by_client(page, "1", 0, user="victim")
    theirs = by_client(page, "2", LONG_AGO, late=60 - LONG_AGO, user="victim", anonymous="chosen")
    known = standings(stated([mine, theirs]))
    assert known[VICTIM].age < known[Identifier("anonymous_id", "chosen")].age


# --- what has to go on working ---------------------------------------------------------------------------------------


def test_a_visitor_who_logs_in_brings_their_history() -> None:
    names = assigned(
        by_client(page, "1", 0, anonymous="device"), by_client(identify, "2", 5, user="victim", anonymous="device")
    ).names
    assert names[DEVICE] == names[VICTIM] == VICTIM


def test_logins_of_a_device_that_was_offline_count_in_the_order_in_which_they_happened() -> None:
    """All of them arrive in one batch, hours later, whatever their ids."""
    at_noon = after(600)
    batch = [
        identify("z", 0, user="ayse", anonymous="device", received_at=at_noon, **BY_A_CLIENT),
        identify("a", 60, user="mert", anonymous="device", received_at=at_noon, **BY_A_CLIENT),
        page("m", -5, anonymous="device", received_at=at_noon, **BY_A_CLIENT),
    ]
    known = standings(stated(batch))
    assert assigned(*batch).names[DEVICE] == Identifier("user_id", "ayse")
    assert known[DEVICE].age < known[Identifier("user_id", "ayse")].age


def test_what_a_server_imports_counts_from_when_it_happened() -> None:
    late = identify("1", -600, user="ayse", anonymous="device", received_at=after(600), **BY_A_SERVER)
    assert assigned(late, identify("2", user="mert", anonymous="device", **BY_A_SERVER)).names[DEVICE] == Identifier(
        "user_id", "ayse"
    )


def test_who_somebody_was_first_seen_as_does_not_change_because_a_server_speaks_of_them() -> None:
    """Their half of an experiment would change with it."""
    visit, login = (
        by_client(page, "1", 0, anonymous="device"),
        by_client(identify, "2", 5, user="victim", anonymous="device"),
    )
    sold = touchpoint("3", 10, "Order Completed", user="victim", **BY_A_SERVER)
    known = standings(stated([visit, login, sold]))
    assert min(DEVICE, VICTIM, key=lambda each: known[each].age) == DEVICE
    assert (known[VICTIM].trust, known[DEVICE].trust) == ("server", "client")


# --- nothing but the set of events counts ----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(lives(longest=12), st.data())
def test_nothing_that_clients_add_takes_from_anybody_what_a_server_gave_them(
    life: list[Touchpoint], data: st.DataObject
) -> None:
    """Where users are not joined: that needs an alias, which ingest takes from no client without a grant."""
    servers = [each for each in life if each.data.trust == "server" and each.data.type != "alias"]
    clients = [each for each in life if each.data.trust == "client" and each.data.type != "alias"]
    added = data.draw(st.permutations(clients))
    before = assigned(*servers, limits=LIMITS).names
    after_all = assigned(*added, *servers, limits=LIMITS).names
    for identifier, name in before.items():
        if name != identifier:
            assert after_all[identifier] == name


PLACES = st.builds(
    lambda rank, minutes, late, id: Precedence(rank, after(minutes + late), after(minutes), id),
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from("ab"),
)


@given(PLACES | st.none(), PLACES | st.none(), PLACES | st.none())
def test_sightings_fold_in_any_order_and_any_number(
    one: Precedence | None, two: Precedence | None, three: Precedence | None
) -> None:
    assert sighted(one, two) == sighted(two, one)
    assert sighted(one, one) == one
    assert sighted(one, sighted(two, three)) == sighted(sighted(one, two), three)


def test_a_statement_is_kept_where_it_is_most_trusted() -> None:
    claim = Edge("claim", EMAIL, VICTIM)
    life = [
        by_client(identify, "1", 0, user="victim", traits={"email": "v@example.com"}),
        identify("2", 60, user="victim", traits={"email": "v@example.com"}, **BY_A_SERVER),
    ]
    assert stated(life)[claim] == stated(life[::-1])[claim] == Precedence(0, after(60), after(60), "2")

"""What the tracking plan says to a call, what a schema may be, and what is proposed from calls that were seen."""

from __future__ import annotations

import json
import string
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.bounds import KEPT_REASONS
from services.ingest.domain.inference import proposed
from services.ingest.domain.plan import ALL, NO_PLAN, Departure, Mode, Plan, PlannedEvent, Unplanned
from services.ingest.domain.shapes import SchemaRefused, compile_schema

ORDER = {
    "type": "object",
    "required": ["order_id", "total"],
    "properties": {
        "order_id": {"type": "string", "minLength": 1},
        "total": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "TRY"]},
        "email": {"type": "string", "format": "email"},
        "products": {
            "type": "array",
            "maxItems": 3,
            "items": {
                "type": "object",
                "required": ["price"],
                "properties": {"price": {"type": "number"}, "sku": {"type": "string", "pattern": "^[A-Z]{2}-"}},
            },
        },
    },
}
RIGHT: dict[str, Any] = {"order_id": "o-1", "total": 10}


def event(schema: Any, mode: Mode = "enforce", **rest: Any) -> PlannedEvent:
    where = {"source": ALL, "type": "track", "name": "Order Completed", "version": 1, **rest}
    return PlannedEvent(**where, mode=mode, schema=json.dumps(schema))


def departure(
    held: Any, *events: PlannedEvent, source: str = "web", kind: str = "track", name: str | None = "Order Completed",
    unplanned: Unplanned = "allow",
) -> Departure | None:  # fmt: skip
    """How a call that holds this departs from a plan of these events, of an order where none is given."""
    plan = Plan.of(events or [event(ORDER)])
    return plan.departure(source, kind, name, held, held, unplanned=unplanned)


def told(found: Departure | None) -> list[tuple[str, str]]:
    """Where it departs, and what is said."""
    assert found is not None
    assert {reason.code for reason in found.reasons} == {"plan_violation"}
    return [(reason.path, reason.message) for reason in found.reasons]


# --- departures ------------------------------------------------------------------------------------------------------


def test_what_the_plan_is_content_with_is_no_departure() -> None:
    products = [{"price": 1.5, "sku": "AB-1"}]
    assert departure({**RIGHT, "currency": "EUR", "email": "a@b.example", "products": products, "more": 1}) is None


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"total": "10"}, "$.properties.total", "properties.total must be a number; it is text"),
        ({"total": True}, "$.properties.total", "properties.total must be a number; it is true or false"),
        ({"total": -1}, "$.properties.total", "properties.total must be 0 or more"),
        ({"total": -(10**300)}, "$.properties.total", "properties.total must be 0 or more"),
        ({"order_id": ""}, "$.properties.order_id", "properties.order_id must have 1 characters or more"),
        ({"order_id": None}, "$.properties.order_id", "properties.order_id must be text; it is null"),
        ({"currency": "USD"}, "$.properties.currency", 'properties.currency must be one of "EUR", "TRY"'),
        ({"email": "ayse"}, "$.properties.email", "properties.email must have the format email"),
        ({"products": [{"price": 1}, {}]}, "$.properties.products[1].price", "properties.products[1].price is missing"),
        ({"products": [{"price": 1, "sku": "x"}]}, "$.properties.products[0].sku", "must match ^[A-Z]{2}-"),
        ({"products": [{"price": 1}] * 4}, "$.properties.products", "properties.products must have 3 items or fewer"),
        ({"products": {}}, "$.properties.products", "properties.products must be a list; it is an object"),
    ],
)
def test_a_departure_names_the_field_and_the_fix(change: dict[str, Any], path: str, message: str) -> None:
    [(where, sentence)] = told(departure({**RIGHT, **change}))
    assert where == path
    assert message in sentence


def test_a_missing_field_is_told_by_its_own_path() -> None:
    assert told(departure({})) == [
        ("$.properties.order_id", "properties.order_id is missing: the plan asks for it"),
        ("$.properties.total", "properties.total is missing: the plan asks for it"),
    ]


@pytest.mark.parametrize(
    ("schema", "held", "path", "message"),
    [
        ({"properties": {"a": {}}, "additionalProperties": False}, {"b c": 1}, "$.properties['b c']", "leave it out"),
        ({"additionalProperties": False}, {"b": 1}, "$.properties", "leave it out"),
        ({"unevaluatedProperties": False}, {"b": 1}, "$.properties.b", "leave it out"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "$.properties.b", "properties.b is missing"),
        ({"properties": {"it's": {"type": "null"}}}, {"it's": 1}, "$.properties['it\\'s']", "must be null"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "$.properties", "name must have 1 characters or fewer"),
        (
            {"anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "number"}}}]},
            {"b": ""},
            "$.properties",
            "properties has none of the 2 forms that the plan allows: a is missing: the plan asks for it; or b must be",
        ),
        ({"oneOf": [{}, {}]}, {}, "$.properties", "more than one of the forms"),
        ({"not": {}}, {}, "$.properties", "rules out"),
        ({"properties": {"a": {"const": 7}}}, {"a": 8}, "$.properties.a", "must be 7"),
        ({"properties": {"a": {"contains": {"const": 7}}}}, {"a": [8]}, "$.properties.a", "has not the items"),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [8, 8]}, "$.properties.a", "holds something twice"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["b"]}}}, {}, "$.properties.b", "is missing"),
    ],
)
def test_departures_of_every_kind(schema: Any, held: Any, path: str, message: str) -> None:
    [(where, sentence)] = told(departure(held, event(schema)))
    assert where == path
    assert message in sentence


def test_no_value_of_a_person_is_repeated() -> None:
    secret = "ayse.yilmaz"
    schema = {"properties": {name: {"format": "email", "maxLength": 3, "enum": [1], "pattern": "^x"} for name in "ab"}}
    for _, sentence in told(departure({"a": secret, "b": secret * 1000}, event(schema))):
        assert secret not in sentence
        assert len(sentence) < 500


def test_reasons_are_few_and_short_whatever_is_sent() -> None:
    names = {f"{number} {'x' * 1_000}": 1 for number in range(30)}
    found = departure(names, event({"properties": {"a": {}}, "additionalProperties": False}))
    assert found is not None
    assert len(found.reasons) == KEPT_REASONS
    assert max(len(reason.path) + len(reason.message) for reason in found.reasons) < 800
    assert found.places == ("$.properties.*",)
    many = departure({**RIGHT, "products": [{}] * 8_000})
    assert many is not None
    assert len(many.reasons) == 1


def test_places_are_told_as_the_plan_would_write_them() -> None:
    found = departure({**RIGHT, "total": "", "products": [{"price": ""}, {"price": ""}, {}]})
    assert found is not None
    assert set(found.places) == {"$.properties.total", "$.properties.products[*].price"}


# --- which part of the plan ------------------------------------------------------------------------------------------


def test_identify_and_group_calls_are_planned_by_their_traits_whatever_they_are_called() -> None:
    for kind in ("identify", "group"):
        planned = event({"required": ["email"]}, type=kind, name="")
        found = Plan.of([planned]).departure("web", kind, "a name", {"email": 1}, {"plan": "pro"})
        assert [path for path, _ in told(found)] == ["$.traits.email"]


def test_what_a_source_plans_for_itself_holds_instead() -> None:
    events = event({"required": ["all"]}), event({"required": ["own"]}, "observe", source="web")
    mine, others = departure({}, *events), departure({}, *events, source="app")
    assert mine is not None
    assert others is not None
    assert (mine.mode, mine.source, mine.places) == ("observe", "web", ("$.properties.own",))
    assert (others.mode, others.source, others.places) == ("enforce", "app", ("$.properties.all",))


def test_a_mode_that_is_off_checks_nothing_and_knows_the_event() -> None:
    events = event({"required": ["all"]}), event({"required": ["own"]}, "off", source="web")
    assert departure({}, *events, unplanned="enforce") is None


@pytest.mark.parametrize(
    ("kind", "name", "refused"),
    [
        ("track", "Ordr Completed", "$.event"),
        ("page", "Home", "$.name"),
        ("screen", "Home", "$.name"),
        ("page", None, None),
        ("identify", "x", None),
        ("group", "x", None),
        ("alias", "x", None),
        ("track", "Order Completed", None),
    ],
)
def test_an_event_that_the_plan_does_not_know_is_refused_where_only_planned_ones_may_come(
    kind: str, name: str | None, refused: str | None
) -> None:
    assert departure(RIGHT, kind=kind, name=name) is None
    found = departure(RIGHT, kind=kind, name=name, unplanned="enforce")
    assert (found and [(each.path, each.code) for each in found.reasons]) == (
        refused and [(refused, "unplanned_event")]
    )
    if found:
        assert (found.mode, found.name, repr(name) in found.reasons[0].message) == ("enforce", "", True)


def test_without_a_plan_nothing_departs() -> None:
    assert NO_PLAN.departure("web", "track", "x", {}, {}) is None
    assert NO_PLAN.departure("web", "track", "x", {}, {}, unplanned="enforce") is not None


def test_what_has_not_changed_is_not_compiled_again() -> None:
    before = Plan.of([event(ORDER), event({}, name="b")])
    after = Plan.of([event(ORDER, "observe", version=2), event({"minProperties": 1}, name="b")], before)
    order, other = (ALL, "track", "Order Completed"), (ALL, "track", "b")
    assert after.entries[order].shape is before.entries[order].shape
    assert after.entries[order].event.mode == "observe"
    assert after.entries[other].shape is not before.entries[other].shape
    assert Plan.of([], after).entries == {}


def test_a_stored_schema_that_no_longer_compiles_keeps_nobody_out() -> None:
    plan = Plan.of([event({"type": "no type"}), event(ORDER, name="b")])
    assert plan.broken == ((ALL, "track", "Order Completed"),)
    assert plan.departure("web", "track", "Order Completed", {}, {}) is None
    assert plan.departure("web", "track", "b", {}, {}) is not None


def test_a_call_that_the_validator_can_not_deal_with_departs_and_raises_nothing() -> None:
    unheard_of: Any = {"total": object()}
    assert told(departure(unheard_of)) == [
        ("$.properties", "properties can't be held against the plan: please tell us")
    ]


# --- schemas that are refused ----------------------------------------------------------------------------------------


def chain(keyword: str, length: int) -> dict[str, Any]:
    """A schema that doubles `length` times."""
    twice = [[{"$ref": f"#/$defs/d{number + 1}"}] * 2 for number in range(length)]
    places = {f"d{number}": {keyword: pair} for number, pair in enumerate(twice)}
    return {"$ref": "#/$defs/d0", "$defs": {**places, f"d{length}": {"type": "object"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ([], "schema", "a schema is a JSON object"),
        (None, "schema", "a schema is a JSON object"),
        (True, "schema", "a schema is a JSON object"),
        ({"type": "objekt"}, "schema.type", "type is one of array, boolean"),
        ({"properties": []}, "schema.properties", 'is not of type "object"'),
        ({"properties": {"a": {"requried": ["b"]}}}, "schema.properties.a.requried", "did you mean required?"),
        ({"nullable": True}, "schema.nullable", '"type": ["string", "null"]'),
        ({"properties": {"a": {"format": "datetime"}}}, "schema.properties.a.format", "Unknown format"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema", "2020-12"),
        ({"$ref": "https://example.com/order.json"}, "schema.$ref", "'https://example.com/order.json'"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "schema.items.$ref", "none is ever fetched"),
        ({"$id": "https://a.example/s", "$ref": "https://a.example/s"}, "schema.$ref", "'https://a.example/s'"),
        ({"$defs": {"a": {"$id": "https://a.example/s"}}}, "schema.$defs.a.$id", "refer by place"),
        ({"$ref": "#/$defs/none"}, "schema.$ref", "there is no schema at '#/$defs/none'"),
        ({"$ref": "#/const", "const": {"allOf": 5}}, "schema.$ref", "there is no schema at"),
        ({"$ref": "#anchor"}, "schema.$ref", "refer by place"),
        ({"$dynamicRef": "#a"}, "schema.$dynamicRef", "refer by place"),
        ({"$ref": "#"}, "schema", "lead back into itself"),
        ({"allOf": [{"$ref": "#"}]}, "schema", "lead back into itself"),
        ({"properties": {"child": {"$ref": "#"}}}, "schema", "lead back into itself"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}},
            "schema.$defs.a",
            "lead back into itself",
        ),
        (chain("allOf", 40), None, "5000 parts"),
        (chain("anyOf", 40), None, "5000 parts"),
        (chain("allOf", 100), None, "64 levels"),
        (nested(33), "schema", "nested 64 levels deep"),
        (nested(5_000), "schema", "nested 64 levels deep"),
        ({"title": "x" * 1_000_000}, "schema", "a schema may have 65536 bytes, this one has 1000012"),
        ({"properties": {"a": {"pattern": "(a)\\1"}}}, "schema.properties.a.pattern", "linear time"),
        ({"properties": {"a": {"pattern": "(?=a)a"}}}, "schema.properties.a.pattern", "linear time"),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "schema.properties.a.pattern", "too large"),
        ({"patternProperties": {"(": {}}}, "schema.patternProperties['(']", "no regular expression"),
        ({"patternProperties": {f"^{number}": {} for number in range(101)}}, "schema", "100 patterns"),
        ({"minimum": float("nan")}, "schema", "can't be written as JSON"),
        ({"title": "\ud800"}, "schema", "can't be written as JSON"),
        ({"properties": {"\0": {}}}, "schema", "U+0000"),
    ],
)
def test_a_schema_that_can_not_be_part_of_the_plan_is_refused_with_the_place(
    schema: Any, path: str | None, message: str
) -> None:
    with pytest.raises(SchemaRefused) as refused:
        compile_schema(schema)
    first = refused.value.details[0]
    assert path in (None, first["path"])
    assert message in first["message"]
    assert len(json.dumps(refused.value.body())) < 20_000


@pytest.mark.parametrize(
    "schema",
    [
        {},
        ORDER,
        nested(31),
        chain("allOf", 7),
        {"$schema": "https://json-schema.org/draft/2020-12/schema#", "$id": "https://a.example/s", "type": "object"},
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "object"}}},
        {"$ref": "#/allOf/0", "allOf": [{"type": "object"}]},
        {"properties": {"$ref": {"type": "string"}, "nullable": {}}, "x-owner": {"team": "shop"}},
    ],
)
def test_a_schema_that_is_right_is_taken(schema: Any) -> None:
    assert compile_schema(schema).is_valid(RIGHT)


def test_a_pattern_that_would_take_for_ever_elsewhere_is_harmless() -> None:
    shape = compile_schema({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert not shape.is_valid({"a": "a" * 30_000 + "b"})


def test_the_heaviest_schema_over_the_heaviest_call_ends_soon() -> None:
    heavy = {"properties": {"a": {"items": {"allOf": [{"minimum": -number} for number in range(3_000)]}}}}
    assert departure({"a": [1] * 10_000}, event(heavy)) is None


# --- any schema, any call --------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c", "d e"]), JSON, max_size=4)
TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"]


def bounded(low: str, high: str) -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.integers(-3, 6) if low == "minimum" else st.integers(0, 4)
    return st.fixed_dictionaries({}, optional={low: numbers, high: numbers})


SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.just({})
    | st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True)}
    )
    | st.fixed_dictionaries({"enum": st.lists(JSON, min_size=1, max_size=3)})
    | bounded("minimum", "maximum")
    | bounded("minLength", "maxLength")
    | bounded("minItems", "maxItems")
    | bounded("minProperties", "maxProperties"),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
            "properties": st.dictionaries(st.sampled_from(["a", "b", "d e"]), inner, max_size=3),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(SCHEMAS, OBJECTS)
def test_the_plan_agrees_with_the_reference_implementation_and_never_raises(schema: Any, held: Any) -> None:
    found = departure(held, event(schema))
    assert (found is None) == jsonschema.Draft202012Validator(schema).is_valid(held)
    if found is not None:
        assert 1 <= len(found.reasons) <= KEPT_REASONS
        assert all(reason.path.startswith("$.properties") for reason in found.reasons)
        assert all(place.startswith("$.properties") for place in found.places)


@settings(max_examples=60, deadline=None)
@given(st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(["$ref", "allOf", "not", "$defs"]), inner)))
def test_whatever_is_no_schema_is_refused_and_breaks_nothing(schema: Any) -> None:
    try:
        compile_schema(schema)
    except SchemaRefused as refused:
        assert refused.details  # noqa: PT017 - either is right


# --- proposals -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(OBJECTS, max_size=6))
def test_what_is_proposed_accepts_all_that_it_was_made_from(events: list[Any]) -> None:
    shape = compile_schema(proposed(events, "$.properties").schema)
    assert all(shape.is_valid(each) for each in events)


def test_a_proposal_says_what_all_events_have_in_common() -> None:
    events = [
        {
            "order_id": f"o-{number}",
            "total": number / 2,
            "currency": ["EUR", "TRY"][number % 2],
            "at": f"2026-03-01T10:{number % 60:02d}:00Z",
            "url": f"https://shop.example/{number}",
            "products": [{"price": number, "size": "SML"[number % 3]}] * (number % 4),
            **({"coupon": "X"} if number else {}),
        }
        for number in range(100)
    ]
    found = proposed(events, "$.properties")
    properties = found.schema["properties"]
    assert "coupon" not in found.schema["required"]
    assert sorted(found.schema["required"]) == ["at", "currency", "order_id", "products", "total", "url"]
    assert properties["total"] == {"type": "number", "minimum": 0}
    assert properties["currency"] == {"type": "string", "enum": ["EUR", "TRY"]}
    assert properties["at"]["format"] == "date-time"
    assert properties["url"]["format"] == "uri"
    assert properties["order_id"] == {"type": "string"}
    assert properties["products"]["items"]["properties"]["size"]["enum"] == ["L", "M", "S"]
    assert found.fields["$.properties.coupon"].seen == 99


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("email", ["ayse@example.com", "mert@example.com"]),
        ("contact", ["ayse@example.com", "by phone"]),
        ("contact", ["+90 532 123 45 67", "none"]),
        ("first_name", ["Ayse", "Mert"]),
        ("city", ["Izmir", "Bursa"]),
        ("cart_id", ["c", "d"]),
        ("answer", ["x" * 60, "y" * 60]),
        ("answer", list(string.ascii_lowercase[:11])),
    ],
)
def test_no_value_of_a_person_and_no_open_set_is_proposed(name: str, values: list[str]) -> None:
    events = [{name: values[number % len(values)]} for number in range(200)]
    text = json.dumps(proposed(events, "$.traits").schema)
    assert not [value for value in values if f'"{value}"' in text]


def test_of_few_events_only_types_are_proposed() -> None:
    found = proposed([{"plan": "pro", "total": 1, "at": "2026-03-01"}] * 5, "$.traits").schema
    assert found["properties"] == {"plan": {"type": "string"}, "total": {"type": "integer"}, "at": {"type": "string"}}


def test_a_table_by_id_and_a_deep_event_make_no_endless_proposal() -> None:
    table = [{"seats": {f"seat-{event}-{seat}": {"taken": True} for seat in range(50)}} for event in range(50)]
    assert proposed(table, "$.properties").schema["properties"]["seats"] == {"type": "object"}
    deep: Any = {}
    for _ in range(29):
        deep = {"x" * 1_000: deep, "y": [deep]} if _ < 5 else {"x": deep}
    assert compile_schema(proposed([deep], "$.properties").schema).is_valid(deep)
    assert proposed([], "$.traits").schema["type"] == "object"


def test_the_modes_are_those_that_the_api_promises() -> None:
    assert set(get_args(Mode)) == {"observe", "enforce", "off"}

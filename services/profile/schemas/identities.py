"""Identities: rulings, and the graph explained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.profile.domain.rulings import Ruling
from services.profile.schemas import Text
from shared.clock import rfc3339
from shared.events import Trust

Named = Annotated[
    str,
    StringConstraints(pattern=r"^[^:\x00]+:[^\x00]+$", max_length=1_000),
    Field(
        description="`kind:value`, as in `anonymous_id:a-2`. `profile_id:…` stands for the identifier that names this "
        "profile: a person's first user id, or a device that nobody logged in on. The answer has that identifier."
    ),
]


class Unmerge(BaseModel):
    """That two identifiers are not one person's."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "example": {"identifier": "anonymous_id:a-2", "from": "user_id:u-17", "why": "shared tablet"}
        },
    )

    identifier: Named
    from_: Named = Field(alias="from")
    why: Text


class Merge(BaseModel):
    """That two identifiers are one person's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"identifier": "anonymous_id:a-2", "into": "user_id:u-17", "why": "she called and said so"}
        },
    )

    identifier: Named
    into: Named
    why: Text


class RulingBody(BaseModel):
    """What was ruled. `identifier` is the one that moves by it."""

    ruling_id: str
    ruling: Literal["merge", "split"]
    identifier: str
    other: str
    at: str
    who: str = Field(description="The key that it was ruled with.")
    why: str


def told(ruling: Ruling) -> dict[str, Any]:
    """A ruling as it is shown: the fields of `RulingBody`."""
    return {
        "ruling_id": ruling.id,
        "ruling": ruling.ruling,
        "identifier": str(ruling.member),
        "other": str(ruling.owner),
        "at": rfc3339(ruling.at),
        "who": ruling.who,
        "why": ruling.why,
    }


class Whose(BaseModel):
    identifier: str
    profile_id: str | None = Field(description="Null where an email, phone or external id is nobody's now.")


_RULED: Any = {
    "ruling": {
        "ruling_id": "2f1c8f5e-7a53-4d5c-9a43-0c0f6f0f8f11",
        "ruling": "split",
        "identifier": "anonymous_id:a-2",
        "other": "user_id:u-17",
        "at": "2026-03-02T10:00:00.000Z",
        "who": "settings:secret",
        "why": "shared tablet",
    },
    "profiles": [
        {"identifier": "anonymous_id:a-2", "profile_id": "8b7f6f8e-5b0c-5d9e-9f6b-0d8f5f6a7c01"},
        {"identifier": "user_id:u-17", "profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b"},
    ],
}


class RuledBody(BaseModel):
    """The ruling that holds now, and both profiles: two after a split, one and the same after a merge."""

    model_config = ConfigDict(json_schema_extra={"example": _RULED})

    ruling: RulingBody
    profiles: list[Whose]


class RulingPage(BaseModel):
    rulings: list[RulingBody]
    next: str | None


class WhyBody(BaseModel):
    """A reason: a code that stays, a sentence, and the touchpoint or the ruling that it lies in."""

    code: str
    message: str
    touchpoint_id: str | None = None
    ruling_id: str | None = None


class ExplainedIdentifier(BaseModel):
    kind: str
    value: str
    since: str
    trust: Trust = Field(description="Of the most trusted who said that it is this person's, or saw them under it.")
    because: WhyBody


class ExplainedEdge(BaseModel):
    kind: Literal["login", "claim", "alias"]
    member: str
    owner: str
    at: str = Field(
        description="From when on it counts: when it was first said, by event time; but what only clients said, not "
        "before it was received."
    )
    happened_at: str = Field(description="The event time itself.")
    trust: Trust = Field(description="Of the most trusted who said it: what servers say goes before what clients do.")
    touchpoint_id: str
    holds: bool
    why: WhyBody | None = Field(description="Why it does not hold; null where it does.")


class ExplainedRuling(RulingBody):
    holds: bool = Field(description="Whether it is the last word on this pair.")
    no_effect: WhyBody | None = Field(
        description="Why it changes nothing now: a later ruling on this pair, or a split of others that a merge would "
        "bring together. Null where they are, by it, together or apart."
    )


class IdentityPage(BaseModel):
    """First all identifiers, then all edges, then all rulings: over the pages, each list goes on."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b",
                "version": 17,
                "conflicts": 1,
                "identifiers": [
                    {
                        "kind": "user_id",
                        "value": "u-17",
                        "since": "2026-03-01T10:00:00.000Z",
                        "trust": "server",
                        "because": {"code": "named", "message": "the profile is named by user_id:u-17"},
                    }
                ],
                "edges": [
                    {
                        "kind": "login",
                        "member": "anonymous_id:a-2",
                        "owner": "user_id:u-17",
                        "at": "2026-03-01T10:00:00.000Z",
                        "happened_at": "2026-03-01T10:00:00.000Z",
                        "trust": "client",
                        "touchpoint_id": "m-1",
                        "holds": False,
                        "why": {
                            "code": "split",
                            "message": "it was ruled that anonymous_id:a-2 and user_id:u-17 are apart",
                            "ruling_id": "2f1c8f5e-7a53-4d5c-9a43-0c0f6f0f8f11",
                        },
                    }
                ],
                "rulings": [{**_RULED["ruling"], "holds": True, "no_effect": None}],
                "next": None,
            }
        }
    )

    profile_id: str
    version: int
    conflicts: int = Field(description="Logins that join nobody because the device is another's; at most 10,000.")
    identifiers: list[ExplainedIdentifier]
    edges: list[ExplainedEdge]
    rulings: list[ExplainedRuling]
    next: str | None

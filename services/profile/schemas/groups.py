"""Groups: what is said of them, and who is in them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.profile.schemas import Member, WordBody

_GROUP: Any = {
    "group_id": "acme",
    "traits": {
        "name": {
            "value": "Acme",
            "at": "2026-03-01T10:00:00.000Z",
            "source": "crm",
            "touchpoint_id": "m-17",
            "trust": "server",
        },
    },
    "calls": 3,
    "first_at": "2026-03-01T10:00:00.000Z",
    "last_at": "2026-03-03T09:30:00.000Z",
}


class GroupBody(BaseModel):
    """What the group calls of everybody say of a group itself."""

    group_id: str
    traits: dict[str, WordBody]
    calls: int = Field(description="How many group calls it is made of.")
    first_at: str
    last_at: str


class GroupWithCount(GroupBody):
    model_config = ConfigDict(json_schema_extra={"example": {**_GROUP, "members": 2}})

    members: int = Field(description="How many profiles are in it now.")


class GroupPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"groups": [_GROUP], "next": "WyJhY21lIl0"}})

    groups: list[GroupBody]
    next: str | None


class GroupMemberPage(BaseModel):
    """By profile id. Several identifiers of one person are one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "profiles": [
                    {"profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b", "since": "2026-03-01T10:00:00.000Z"}
                ],
                "count": 1,
                "next": "WyJhMzBjODc3Zi01ZWNhLTVlY2MtOWY0MS01MzBjZjQ1YmRjMmIiXQ",
            }
        }
    )

    profiles: list[Member]
    count: int
    next: str | None

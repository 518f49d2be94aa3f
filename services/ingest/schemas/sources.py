"""Bodies of sources and keys."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from services.ingest.domain.grants import Grant
from services.ingest.domain.origins import normal
from services.ingest.domain.sources import IdentityProof
from services.ingest.schemas import Body
from shared.events import Trust
from shared.scopes import Scope, Service


def _origin(given: str) -> str:
    """An origin as browsers write it."""
    origin = normal(given)
    if origin is None:
        raise ValueError(
            "must be scheme://host or scheme://host:port, such as https://www.example.com: without a path, and without "
            "a wildcard (list every host)"
        )
    return origin


SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

Origin = Annotated[str, Field(max_length=300), AfterValidator(_origin)]


class Limits(Body):
    """What holds for a source's calls."""

    usual: str = Field(
        default="unknown",
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description="The channel of its calls where nothing else tells it.",
        examples=["web"],
    )
    origins: list[Origin] = Field(
        default=[],
        max_length=100,
        description="Where browsers may send from; none means from everywhere.",
        examples=[["https://www.example.com"]],
    )
    rate: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        strict=True,
        description="Calls a second, in each process of ingest.",
    )
    quota: int | None = Field(default=None, ge=1, le=10**15, strict=True, description="Calls a day (UTC).")
    unplanned: Literal["allow", "enforce"] = Field(
        default="allow", description="`enforce` rejects events that the tracking plan does not know."
    )


class SourceBody(Limits):
    """What a person says about a source. A limit that is left out is none; `trust`, `may` and `identity_proof` stay as
    they are, or are those of a `client`."""

    trust: Trust | None = Field(
        default=None,
        description="`server` says that its keys are kept secret, whatever their scopes; `client` that anybody may "
        "read them, in a page or an app. What clients state is marked as such.",
        examples=["client"],
    )
    may: set[Grant] | None = Field(
        default=None,
        json_schema_extra={"uniqueItems": False},  # one that is there twice is there
        description="What it may state; what it may not is rejected. Usual are all for a `server`, and `identify`, "
        "`consent`, `orders` and `feedback` for a `client`.",
        examples=[["identify", "consent", "orders", "feedback"]],
    )
    identity_proof: IdentityProof | None = Field(
        default=None,
        description="`required` rejects what is said of who somebody is without a user token of theirs.",
        examples=["none"],
    )


class SourceAnswer(Limits):
    name: str
    trust: Trust
    may: list[Grant]
    identity_proof: IdentityProof
    made_at: str
    calls_today: int = Field(description="Calls taken today (UTC), up to a second ago.")


class SourcesAnswer(BaseModel):
    sources: list[SourceAnswer]
    next: str | None


class KeyBody(Body):
    """What a new key may do."""

    scopes: set[Scope] = Field(
        min_length=1,
        json_schema_extra={"uniqueItems": False},  # one that is there twice is there
        description="With `write` alone it is a public key (`wk_…`), which may stand in a page; with any other it is a "
        "secret (`sk_…`). `read` looks at what shows no person, `read:people` at people, too; `admin` changes things "
        "and may look at all; `decide` asks for offers, as `admin` may.",
        examples=[["write"]],
    )
    services: set[Service] | None = Field(
        default=None,
        min_length=1,
        json_schema_extra={"uniqueItems": False},
        description="The services that it opens; where this is left out all, or those of the key that makes it.",
        examples=[["profile", "scoring"]],
    )
    sources: set[SourceName] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        json_schema_extra={"uniqueItems": False},
        description="The sources that it may look at and change in ingest; it opens no other service then. Where this "
        "is left out all, or those of the key that makes it.",
        examples=[["web"]],
    )

    @model_validator(mode="after")
    def _sources_are_of_ingest(self) -> Self:
        if self.sources is not None and self.services not in (None, {"ingest"}):
            raise ValueError("a key that is for some sources opens ingest only: leave `services` out")
        return self


class RotateBody(Body):
    """How long the old key goes on to hold beside the new one."""

    overlap_seconds: int = Field(default=86_400, ge=0, le=90 * 86_400, strict=True)


class KeyAnswer(BaseModel):
    id: str
    hint: str = Field(description="Its first characters.")
    scopes: list[Scope]
    services: list[Service] | None = Field(description="What it opens; null: all.")
    sources: list[str] | None = Field(description="Which sources it is for; null: all.")
    made_at: str
    ends_at: str | None
    holds: bool


class KeysAnswer(BaseModel):
    keys: list[KeyAnswer]
    next: str | None


class NewKeyAnswer(KeyAnswer):
    key: str = Field(description="The key itself. It is told this once and kept nowhere.")


class RotatedAnswer(NewKeyAnswer):
    replaces: KeyAnswer

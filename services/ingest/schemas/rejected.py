"""Bodies of rejected events, and of what is done with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from services.ingest.schemas import Body
from shared.fix_bodies import FixBody
from shared.moments import Moment
from shared.paging import TEXT

MOST = 10_000
"""Events that one request may replay or discard."""

Text = Annotated[str, StringConstraints(pattern=TEXT, max_length=600)]
Status = Literal["waiting", "replayed", "discarded"]


class RejectedItem(BaseModel):
    id: str
    source: str
    received_at: str
    type: str | None
    event: str | None
    message_id: str | None
    code: str
    message: str
    path: str
    status: Status


class RejectedPage(BaseModel):
    rejected: list[RejectedItem]
    next: str | None


class Group(BaseModel):
    """Rejected events that are alike."""

    reason: str
    source: str
    event: str | None
    count: int
    first_at: str
    last_at: str


class RejectedCounts(BaseModel):
    total: int
    counts: list[Group] = Field(description="The largest groups, a hundred at most.")
    more_groups: int = Field(description="How many other groups there are; `total` has them in it.")


class Violation(BaseModel):
    path: str
    code: str
    message: str


class Attempted(BaseModel):
    """What somebody (the key `by`) did with the event. `position` is a `Temas-Position`."""

    at: str
    by: str
    outcome: Literal["replayed", "rejected", "discarded"]
    replay: str | None = None
    position: str | None = None
    reasons: list[Violation] = []


class RejectedEvent(RejectedItem):
    violations: list[Violation]
    body: Any = Field(description="JSON where it is JSON, else text, else base64.")
    body_form: Literal["json", "text", "base64"]
    form: Literal["call", "cloudevent"]
    call: str | None = Field(description="The kind of call that its address named; null where it says its own.")
    sent_at: str | None
    user_agent: str
    context: dict[str, Any] = Field(description="What its batch said for all its calls.")
    integrations: dict[str, Any]
    history: list[Attempted]


# --- orders ----------------------------------------------------------------------------------------------------------


class Select(Body):
    """Which of those that wait; all of them where nothing is said."""

    ids: list[Text] | None = Field(default=None, max_length=MOST)
    reason: Text | None = Field(default=None, description="The code of the first violation.")
    source: Text | None = None
    type: Text | None = None
    event: Text | None = None
    message_id: Text | None = None
    since: Moment | None = Field(default=None, alias="from", description="Received at that moment or later.")
    until: Moment | None = Field(default=None, alias="to", description="Received before that moment.")


class DiscardBody(Body):
    select: Select
    dry_run: bool = Field(default=True, strict=True)
    limit: int = Field(default=MOST, ge=1, le=MOST, strict=True)


class ReplayBody(DiscardBody):
    fix: FixBody | None = None
    cursor: str | None = Field(default=None, max_length=1_000, description="The `next` of the replay before.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fix and self.fix.body is not None and len(self.select.ids or ()) != 1:
            raise ValueError("fix.body takes the place of one event: give its id, alone, in select.ids")
        return self


class Sample(BaseModel):
    """An event before and after the fix (null where that does not fit it), and what is still wrong with it."""

    id: str
    before: Any
    after: Any
    reasons: list[Violation]


class Remaining(BaseModel):
    dry_run: bool
    selected: int
    remaining: int = Field(description="How many more there are, past `limit`.")


class DiscardAnswer(Remaining):
    pass


class Trial(Remaining):
    """What a replay would do."""

    dry_run: Literal[True] = True
    would_accept: int
    would_reject: int
    samples: list[Sample]
    next: str | None


class ReplayAnswer(Remaining):
    """What a replay has done. Those that were rejected again go on waiting."""

    dry_run: Literal[False] = False
    accepted: int
    rejected: int
    samples: list[Sample]
    next: str | None
    position: str | None = Field(description="The `Temas-Position` of the touchpoints, for `?after=`.")

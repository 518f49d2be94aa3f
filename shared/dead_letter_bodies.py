"""HTTP bodies of dead letters."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.dead_letter_store import Selection
from shared.fix_bodies import FixBody
from shared.moments import Moment
from shared.paging import TEXT

MOST = 1_000
"""Letters that one request may replay or discard."""

SAMPLES = 5
"""Letters that a dry run shows as they would be applied."""

Text = Annotated[str, StringConstraints(pattern=TEXT, max_length=600)]
Status = Literal["waiting", "ordered", "replayed", "discarded"]


class DeadLetterItem(BaseModel):
    id: str
    topic: str = Field(description="Where the record stood, with `partition` and `offset`.")
    partition: int
    offset: int
    at: str = Field(description="When it was put aside.")
    reason: str
    status: Status = Field(description="`ordered`: the running service is about to apply it once more.")


class DeadLetterPage(BaseModel):
    dead_letters: list[DeadLetterItem]
    next: str | None


class Mended(BaseModel):
    path: str
    code: str
    message: str


class DeadLetterTry(BaseModel):
    """An entry of a letter's history: who did what (`by`: a key's id), or what came of it."""

    at: str
    outcome: Literal["ordered", "replayed", "known already", "failed", "discarded"] = Field(
        description="`known already`: its event had been applied by another way."
    )
    by: str | None = None
    why: str | None = None
    reasons: list[Mended] = []


class DeadLetterAnswer(DeadLetterItem):
    key: Any
    value: Any = Field(description="The record: JSON where it is JSON, else text, else base64; null where it had none.")
    value_form: Literal["json", "text", "base64"] | None
    mended: Any = Field(description="What was applied in its place, or is to be.")
    history: list[DeadLetterTry]


class DeadLetterSelect(BaseModel):
    """Which of those that wait; all of them where nothing is said."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Text] | None = Field(default=None, max_length=MOST)
    topic: Text = ""
    reason: Text = Field(default="", description="Words of the reason.")
    since: Moment | None = Field(default=None, alias="from", description="Put aside at that moment or later.")
    until: Moment | None = Field(default=None, alias="to", description="Put aside before that moment.")

    def selection(self) -> Selection:
        """The letters meant."""
        return Selection(**self.model_dump())


class DeadLetterDiscard(BaseModel):
    model_config = ConfigDict(extra="forbid")

    select: DeadLetterSelect
    dry_run: bool = Field(default=True, strict=True)
    limit: int = Field(default=MOST, ge=1, le=MOST, strict=True)

    def told(self) -> dict[str, Any]:
        """The order as the audit has it: how many ids, not which; the letters' histories say that."""
        select = self.select.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        if self.select.ids is not None:
            select["ids"] = len(self.select.ids)
        return {"select": select, "limit": self.limit}


class DeadLetterReplay(DeadLetterDiscard):
    fix: FixBody | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fix and self.fix.body is not None and len(self.select.ids or ()) != 1:
            raise ValueError("fix.body takes the place of one record: give its id, alone, in select.ids")
        return self


class DeadLetterSample(BaseModel):
    """A letter before and after the fix (null where that does not fit it), and why it can't be applied."""

    id: str
    before: Any
    after: Any
    reasons: list[Mended]


class DeadLetterOutcome(BaseModel):
    """The outcome of an order, or of its dry run.

    `failed` can't be applied, or could not, and wait on: their histories say why. `ordered` are still to be applied.
    """

    dry_run: bool
    selected: int
    replayed: int = 0
    ordered: int = Field(default=0, description="In a dry run: those that would be applied.")
    failed: int = 0
    discarded: int = 0
    remaining: int = Field(description="How many others of them wait.")
    samples: list[DeadLetterSample] = []

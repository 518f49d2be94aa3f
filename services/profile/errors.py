"""What can go wrong in profile, and what the client is told.

TemasError
├── NotFound
│   ├── ProfileNotFound      404 profile_not_found
│   ├── SegmentNotFound      404 segment_not_found
│   ├── GroupNotFound        404 group_not_found
│   ├── PersonaNotFound      404 persona_not_found
│   ├── ComputedNotFound     404 computed_not_found
│   └── ProposalNotFound     404 proposal_not_found
├── ComputedReserved         409 computed_reserved: everybody has a value of that name anyway
├── TooManyComputed          409 too_many_computed
├── TooManySegments          409 too_many_segments
├── ProposalDecided          409 proposal_decided: otherwise than asked now, or there is nothing left to decide
├── NotTogether              409 not_merged: there is nothing to take apart
├── Together                 409 already_merged: they are one profile, and not by a ruling
├── Contradicted             409 ruling_contradicted: a split stands in the way of the merge; `details` name it
├── PersonaChanged           409 persona_changed: a segment of its id has another rule, which would be lost
├── RulingRefused            422 ruling_refused: nothing can be ruled on this pair; says why
├── RetryLater
│   └── NotYet               503 not_yet, Retry-After: the touchpoint that was asked for does not show yet
├── RebuildRefused           never told to a client: what an operator asked for can't be done now; says what to do
└── RuleRefused              422 rule_refused: line, column, and what CEL expected (of shared/rules.py)
    └── RuleTooCostly        422 rule_too_costly: `details` tell the cost and the limit
        └── SegmentsTooCostly    it alone would do, and with all the others it is too much

ExtraMissing is no client's: an operator asked for what needs a package that is not installed.
"""

from __future__ import annotations

from shared.errors import NotFound, RetryLater, TemasError
from shared.identifiers import Identifier
from shared.rules import RuleTooCostly


class ProfileNotFound(NotFound):
    code = "profile_not_found"

    def __init__(self, identifier: Identifier) -> None:
        super().__init__(f"no profile has {identifier.kind} {identifier.value!r}")


class SegmentNotFound(NotFound):
    code = "segment_not_found"

    def __init__(self, segment_id: str) -> None:
        super().__init__(f"there is no segment {segment_id!r}: PUT /v1/segments/{segment_id} makes it")


class GroupNotFound(NotFound):
    code = "group_not_found"

    def __init__(self, group_id: str) -> None:
        super().__init__(f"there is no group {group_id!r}: a group call about it makes it")


class PersonaNotFound(NotFound):
    code = "persona_not_found"

    def __init__(self, persona_id: str) -> None:
        super().__init__(f"there is no persona {persona_id!r}: GET /v1/personas lists them")


class PersonaChanged(TemasError):
    status = 409
    code = "persona_changed"

    def __init__(self, persona_id: str) -> None:
        super().__init__(
            f"the segment {persona_id!r} has another rule than the persona: with ?replace=true it gets the persona's",
            details=[{"path": "query.replace", "code": "persona_changed"}],
        )


class ComputedNotFound(NotFound):
    code = "computed_not_found"

    def __init__(self, trait_id: str) -> None:
        super().__init__(f"there is no computed trait {trait_id!r}: PUT /v1/computed/{trait_id} makes it")


class ComputedReserved(TemasError):
    status = 409
    code = "computed_reserved"

    def __init__(self, trait_id: str) -> None:
        super().__init__(
            f"trait_id: everybody has computed.{trait_id} anyway; choose another name",
            details=[{"path": "trait_id", "code": "computed_reserved"}],
        )


class TooManyComputed(TemasError):
    status = 409
    code = "too_many_computed"

    def __init__(self, most: int) -> None:
        super().__init__(f"there may be {most} computed traits: delete one that nobody uses")


class TooManySegments(TemasError):
    status = 409
    code = "too_many_segments"

    def __init__(self, most: int) -> None:
        super().__init__(f"there may be {most} segments: delete one that nobody uses")


class SegmentsTooCostly(RuleTooCostly):
    def __init__(self, steps: int, limit: int) -> None:
        super().__init__(
            f"rule is too costly beside those of the other segments: together they may take {steps:,} steps for one "
            f"person, and {limit:,} are allowed; use fewer loops in it, or delete a segment that nobody uses",
            details=[{"path": "rule", "code": self.code, "cost": steps, "limit": limit}],
        )


class NotTogether(TemasError):
    status = 409
    code = "not_merged"

    def __init__(self, one: Identifier, other: Identifier) -> None:
        super().__init__(f"{one} and {other} are not in one profile: there is nothing to take apart")


class Together(TemasError):
    status = 409
    code = "already_merged"

    def __init__(self, one: Identifier, other: Identifier) -> None:
        super().__init__(f"{one} and {other} are in one profile already")


class Contradicted(TemasError):
    """`split`: the two that are apart, where that is what stands in the way, by the ruling `ruling_id`."""

    status = 409
    code = "ruling_contradicted"

    def __init__(
        self, one: Identifier, other: Identifier, *, split: tuple[Identifier, Identifier] | None, ruling_id: str
    ) -> None:
        ruled = f"that {split[0]} and {split[1]} are apart" if split else "otherwise of those whom they are with"
        super().__init__(
            f"{one} and {other} can't be one profile: it was ruled {ruled}. Take that back first",
            details=[{"path": "body", "code": "split", "ruling_id": ruling_id}] if split else [],
        )


class RulingRefused(TemasError):
    status = 422
    code = "ruling_refused"

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}", details=[{"path": f"body.{field}", "code": "ruling_refused"}])


class RebuildRefused(TemasError):
    status = 409
    code = "rebuild_refused"


class NotYet(RetryLater):
    status = 503
    code = "not_yet"

    def __init__(self) -> None:
        super().__init__("that touchpoint does not show yet: ask again in a moment")


class ProposalNotFound(NotFound):
    code = "proposal_not_found"

    def __init__(self, proposal_id: str) -> None:
        super().__init__(f"there is no proposal {proposal_id!r}")


class ProposalDecided(TemasError):
    """`became`: what became of the proposal; `fix`: how to have it otherwise."""

    status = 409
    code = "proposal_decided"

    def __init__(self, proposal_id: str, became: str, fix: str) -> None:
        super().__init__(f"proposal {proposal_id} is {became}: {fix}")


class ExtraMissing(Exception):
    """The text is what to do."""

    def __init__(self, package: str) -> None:
        super().__init__(f"looking for duplicates needs {package}, which is not installed: pip install splink pyarrow")

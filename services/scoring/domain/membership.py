"""Who is who, as the profile service tells it: what changes when memberships are heard, in whatever order.

Of each profile the highest version wins, so the end depends only on what was said. What is said again unchanged, under
a new version, changes nothing here: scores go back to the profile service, and must not come round for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from shared.events import Membership
from shared.identifiers import Identifier

OWNERS = frozenset({"user_id", "anonymous_id"})
"""The kinds of identifier that touchpoints are kept under; the others only find a profile."""


class Relinked(msgspec.Struct, frozen=True):
    """What to write. Pairs are (profile id, identifier), sorted; `changed` are the profiles to score again, sorted."""

    heard: tuple[Membership, ...]
    joined: tuple[tuple[str, Identifier], ...]
    left: tuple[tuple[str, Identifier], ...]
    changed: tuple[str, ...]

    @property
    def owners(self) -> list[Identifier]:
        """The joining identifiers that touchpoints are kept under, sorted."""
        return sorted({identifier for _, identifier in self.joined if identifier.kind in OWNERS})


def latest(memberships: Iterable[Membership]) -> dict[str, Membership]:
    """Of each profile the membership with the highest version, in the order of profile ids."""
    newest: dict[str, Membership] = {}
    for membership in memberships:
        known = newest.get(membership.profile_id)
        if known is None or membership.version > known.version:
            newest[membership.profile_id] = membership
    return {profile_id: newest[profile_id] for profile_id in sorted(newest)}


def relinked(known: Mapping[str, Membership], heard: Mapping[str, Membership]) -> Relinked:
    """What `heard` changes about `known`; profiles that are not in `known` were never heard of."""
    newer = [each for each in heard.values() if each.version > _version(known.get(each.profile_id))]
    joined, left, changed = [], [], []
    for membership in newer:
        profile_id = membership.profile_id
        before = known.get(profile_id) or Membership(profile_id=profile_id, version=0)
        joined += [(profile_id, each) for each in set(membership.identifiers) - set(before.identifiers)]
        left += [(profile_id, each) for each in set(before.identifiers) - set(membership.identifiers)]
        if before.redirect != membership.redirect or set(before.identifiers) != set(membership.identifiers):
            changed.append(profile_id)
    return Relinked(tuple(newer), tuple(sorted(joined)), tuple(sorted(left)), tuple(sorted(changed)))


def _version(membership: Membership | None) -> int:
    return -1 if membership is None else membership.version

"""Answering about groups: what is known of one, and who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from services.profile.domain.groups import Group
from services.profile.errors import GroupNotFound
from services.profile.store import groups
from shared.db import Work


class Groups:
    """What can be asked about groups."""

    async def get(self, group_id: str, work: Work) -> tuple[Group, int]:
        """What is known of a group, and how many people are in it. Raises GroupNotFound."""
        group = await groups.find(work, group_id)
        if group is None:
            raise GroupNotFound(group_id)
        return group, await groups.count(work, group_id)

    async def page(self, after: str, limit: int, work: Work) -> Sequence[tuple[str, Group]]:
        """Groups by id, those past `after`."""
        return await groups.page(work, after, limit)

    async def members(self, group_id: str, after: str | None, limit: int, work: Work) -> tuple[int, Sequence[Row[Any]]]:
        """How many are in the group, and those past the profile `after`. Raises GroupNotFound."""
        _, count = await self.get(group_id, work)
        return count, await groups.members(work, group_id, after, limit)

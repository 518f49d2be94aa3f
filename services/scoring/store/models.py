"""Model versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, text

from services.scoring.domain.model import Model
from services.scoring.domain.scores import Named
from shared.db import Work

Status = Literal["fitting", "ready", "active", "retired", "failed"]

_COLUMNS = "id, status, as_of, activate, requested_at, attempts, finished_at, fit_seconds, reason, CAST(state AS text)"

REQUEST = text("""
    INSERT INTO model (id, status, as_of, activate, requested_at, attempts)
    VALUES (:id, 'fitting', :as_of, :activate, :now, 0) ON CONFLICT DO NOTHING
""")
CLAIM = text(f"""
    UPDATE model SET leased_until = :until, attempts = attempts + 1
    WHERE id = (
        SELECT id FROM model WHERE status = 'fitting' AND (leased_until IS NULL OR leased_until < :now)
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {_COLUMNS}
""")  # noqa: S608 - a constant
RENEW = text("UPDATE model SET leased_until = :until WHERE id = :id AND status = 'fitting'")
RELEASE = text("""
    UPDATE model SET leased_until = NULL, attempts = attempts - CAST(:forgiven AS integer)
    WHERE id = :id AND status = 'fitting'
""")
FINISH = text("""
    UPDATE model SET status = 'ready', state = CAST(:state AS jsonb), finished_at = :now, fit_seconds = :seconds,
        leased_until = NULL
    WHERE id = :id AND status = 'fitting'
""")
FAIL = text("""
    UPDATE model SET status = 'failed', reason = :reason, finished_at = :now, fit_seconds = :seconds,
        leased_until = NULL
    WHERE id = :id AND status = 'fitting'
""")
# Scores are computed while this is held shared, and a model is activated while it is held alone: so every score by
# the model before is written down when the marking of whom to score anew begins.
SCORING = text("SELECT pg_advisory_xact_lock_shared(hashtext(current_schema() || ' active model'))")
ACTIVATING = text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || ' active model'))")
RETIRE = text("UPDATE model SET status = 'retired', marked_through = NULL WHERE status = 'active'")
ACTIVATE = text("UPDATE model SET status = 'active', marked_through = '' WHERE id = :id")
ACTIVE = text("SELECT id, CAST(state AS text) FROM model WHERE status = 'active'")
TO_MARK = text("""
    SELECT id, marked_through FROM model WHERE status = 'active' AND marked_through IS NOT NULL FOR UPDATE SKIP LOCKED
""")
MARKED = text("UPDATE model SET marked_through = :through WHERE id = :id")
GET = text(f"SELECT {_COLUMNS} FROM model WHERE id = :id")  # noqa: S608 - a constant
LIST = text(f"""
    SELECT {_COLUMNS} FROM model WHERE CAST(:before AS text) IS NULL OR id < :before ORDER BY id DESC LIMIT :limit
""")  # noqa: S608 - a constant

_model = msgspec.json.Decoder(Model)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A model version: asked for, then fitted or failed."""

    id: str
    status: Status
    as_of: datetime
    activate: bool
    requested_at: datetime
    attempts: int
    finished_at: datetime | None
    fit_seconds: float | None
    reason: str | None
    model: Model | None


async def request(work: Work, id: str, *, as_of: datetime, activate: bool, now: datetime) -> bool:
    """Ask for a fit under this id; False where the id is taken."""
    row = {"id": id, "as_of": as_of, "activate": activate, "now": now}
    return (await work.execute(REQUEST, row)).rowcount == 1


async def claim(work: Work, *, now: datetime, until: datetime) -> Version | None:
    """The oldest fit that nobody is at: ours until `until`."""
    row = (await work.execute(CLAIM, {"now": now, "until": until})).one_or_none()
    return _version(row) if row is not None else None


async def renew(work: Work, id: str, until: datetime) -> None:
    """Still at it."""
    await work.execute(RENEW, {"id": id, "until": until})


async def release(work: Work, id: str, *, forgiven: bool) -> None:
    """No longer at it: somebody else may be. `forgiven`: it does not count as a try."""
    await work.execute(RELEASE, {"id": id, "forgiven": int(forgiven)})


async def finish(work: Work, id: str, model: Model, *, now: datetime, seconds: float) -> bool:
    """The fit gave this model. False where somebody else had finished it."""
    row = {"id": id, "state": msgspec.json.encode(model).decode(), "now": now, "seconds": seconds}
    return (await work.execute(FINISH, row)).rowcount == 1


async def fail(work: Work, id: str, reason: str, *, now: datetime, seconds: float) -> None:
    """The fit gave none, for this reason."""
    await work.execute(FAIL, {"id": id, "reason": reason, "now": now, "seconds": seconds})


async def activating(work: Work) -> None:
    """Wait until nobody computes scores, and let nobody begin before `work` ends."""
    await work.execute(ACTIVATING)


async def activate(work: Work, id: str) -> None:
    """This model is the active one, the one before is retired, and everybody who buys is to be marked."""
    await work.execute(RETIRE)
    await work.execute(ACTIVATE, {"id": id})


async def active(work: Work) -> Named | None:
    """The model that scores are computed with."""
    row = (await work.execute(ACTIVE)).one_or_none()
    return Named(row.id, _model.decode(row.state)) if row is not None else None


async def scoring(work: Work) -> Named | None:
    """The same, and it stays the active one until `work` ends."""
    await work.execute(SCORING)
    return await active(work)


async def to_mark(work: Work) -> tuple[str, str] | None:
    """(id, last profile marked) of an active model for which not all profiles are marked, locked."""
    row = (await work.execute(TO_MARK)).one_or_none()
    return (row.id, row.marked_through) if row is not None else None


async def marked(work: Work, id: str, through: str | None) -> None:
    """Profiles up to `through` are marked; None: all are."""
    await work.execute(MARKED, {"id": id, "through": through})


async def get(work: Work, id: str) -> Version | None:
    row = (await work.execute(GET, {"id": id})).one_or_none()
    return _version(row) if row is not None else None


async def versions(work: Work, *, before: str | None, limit: int) -> Sequence[Version]:
    """The newest first, those older than the id `before`."""
    return [_version(row) for row in await work.execute(LIST, {"before": before, "limit": limit})]


def _version(row: Row[Any]) -> Version:
    return Version(
        id=row.id,
        status=row.status,
        as_of=row.as_of,
        activate=row.activate,
        requested_at=row.requested_at,
        attempts=row.attempts,
        finished_at=row.finished_at,
        fit_seconds=row.fit_seconds,
        reason=row.reason,
        model=_model.decode(row.state) if row.state is not None else None,
    )

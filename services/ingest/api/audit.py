"""`/v1/audit`: who changed what."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from services.ingest.api.desk import reader
from shared import audit_routes
from shared.db import Database

router = APIRouter(dependencies=[Depends(reader)])


def _database(request: Request) -> Database:
    database: Database = request.app.state.desk.database
    return database


router.include_router(audit_routes.router(_database))

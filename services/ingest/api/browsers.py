"""What SDKs ask before they send anything: what their source is, and where to send.

Segment's ask `GET /v1/projects/{write_key}/settings`, RudderStack's `GET /sourceConfig`. Both hear that there is
nothing to load (destinations, middleware, metrics of their own) and everything to send here. The answers have what the
SDKs of browsers (analytics-next, rudder-sdk-js) and of phones (Kotlin, Swift, Android, iOS) decode.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from services.ingest.domain.sources import Key
from services.ingest.service.registry import Registry
from shared.auth import credential
from shared.clock import rfc3339
from shared.errors import NotFound, TemasError, Unauthorized
from shared.http import Json, refusals

router = APIRouter(tags=["tracking"])

CORS = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Max-Age": "86400",
}
SECONDS = 120
"""That an answer may be kept: so long does an SDK go on with a key that was revoked, to no avail."""


@router.get(
    "/v1/projects/{write_key}/settings", summary="What Segment's SDKs ask first", responses=refusals(404, 422, 503)
)
async def settings(request: Request, write_key: Annotated[str, Path(max_length=512)]) -> Response:
    """404 where the key is none that may write, and nothing else: this address is public."""
    registry = _registry(request)
    try:
        _public(registry, write_key, NotFound("there is no such write key"))
    except TemasError as error:
        return _refused(error)
    address = registry.settings.public_url
    if address is not None:
        return Json(_settings(write_key, address.rstrip("/")), headers=_kept("public"))
    # Of what only this client says no cache may tell others.
    told = {**CORS, "Cache-Control": "no-store, max-age=0", "Vary": "Host, X-Forwarded-Proto"}
    return Json(_settings(write_key, _asked_at(request)), headers=told)


@router.get("/sourceConfig", summary="What RudderStack's SDKs ask first", responses=refusals(401, 422, 503))
@router.get("/sourceConfig/", include_in_schema=False)
async def source_config(
    request: Request,
    write_key: Annotated[str | None, Query(alias="writeKey", max_length=512)] = None,
    authorization: Annotated[str | None, Header()] = None,
) -> Response:
    """The write key comes as HTTP Basic user name, or as `writeKey`. 401 where it is none, or no public one."""
    registry = _registry(request)
    given = credential(authorization) or write_key or ""
    try:
        key = _public(registry, given, Unauthorized("give a write key, as HTTP Basic user name or as ?writeKey="))
    except TemasError as error:
        return _refused(error)
    return Json(_source_config(key, given, rfc3339(registry.clock())), headers=_kept("private"))


@router.options("/v1/projects/{write_key}/settings", include_in_schema=False)
@router.options("/sourceConfig", include_in_schema=False)
@router.options("/sourceConfig/", include_in_schema=False)
async def preflight() -> Response:
    """What a browser asks before it sends `Authorization` from another origin."""
    return Response(headers=PREFLIGHT)


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.ingest.registry
    return registry


def _public(registry: Registry, text: str, otherwise: TemasError) -> Key:
    """The write key that `text` is. One that may do more has no business in a page, and is not confirmed here."""
    key = registry.current.key(text)
    if key is None or not key.public or not key.holds(registry.clock()):
        raise otherwise
    return key


def _refused(error: TemasError) -> Response:
    """With the headers of CORS, without which a script could not read it."""
    return Json(error.body(), status_code=error.status, headers={**CORS, "Cache-Control": "no-store", **error.headers})


def _kept(by: str) -> dict[str, str]:
    return {**CORS, "Cache-Control": f"{by}, max-age={SECONDS}"}


# --- where to send ---------------------------------------------------------------------------------------------------

_HOST = re.compile(r"[\w.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", re.ASCII)


def _asked_at(request: Request) -> str:
    """The address that this request reached, as far as it says."""
    host = request.headers.get("host", "")
    forwarded = request.headers.get("x-forwarded-proto") == "https"
    return f"{'https' if forwarded else request.url.scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


# --- the forms -------------------------------------------------------------------------------------------------------

_EVERYTHING = {"__default": {"enabled": True, "integrations": {}}}
_NOTHING = {"enabled": False}


def _settings(write_key: str, address: str) -> dict[str, Any]:
    """`apiHost` has no scheme: SDKs set `protocol`, or https, before it. Without it they would send to Segment."""
    protocol, _, host = address.partition("://")
    return {
        "integrations": {"Segment.io": {"apiKey": write_key, "apiHost": f"{host}/v1", "protocol": protocol}},
        "plan": dict.fromkeys(("track", "identify", "group"), _EVERYTHING),
        "edgeFunction": {},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def _source_config(key: Key, write_key: str, at: str) -> dict[str, Any]:
    """Without `dataplanes`: SDKs then send to the address that they were given, which was this one."""
    source = {
        "id": key.source.name,
        "name": key.source.name,
        "writeKey": write_key,
        "workspaceId": "temas",
        "enabled": True,
        "deleted": False,
        "transient": False,
        "config": {"statsCollection": {"errors": _NOTHING, "metrics": _NOTHING}},
        "sourceDefinitionId": "temas",
        "sourceDefinition": {"id": "temas", "name": "temas", "displayName": "Temas"},
        "destinations": [],
        "connections": [],
        "dataplanes": {},
        "createdAt": at,
        "updatedAt": at,
    }
    return {"isHosted": True, "source": source, "updatedAt": at, "consentManagementMetadata": {"providers": []}}

"""Proof of who somebody is: a user token, which the company's backend signs for the person that it knows.

Whoever has a public key can write any `userId` beside it. A source that asks for proof believes what is said of who
somebody is only with a token whose `sub` is that user id. It proves the user id and nothing else: an e-mail address
beside it stays a client's word. A token goes no further than this: neither into the log nor among rejected events.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Raw

from services.ingest.domain.grants import states_identity
from shared.errors import Unauthorized
from shared.events import Call, Reason

TOKEN = "userToken"  # noqa: S105 - a field's name
"""The field of a `context` that a token comes in."""

HEADER = "Temas-User-Token"
"""The header that it may come in instead, for all calls of a request."""

MISSING = (
    f"this source asks for proof of who somebody is: send a user token, a JWT that your backend signs for them, as "
    f"context.{TOKEN} or in the header {HEADER}"
)

NOT_PROVEN = "identity_not_proven"


def nothing_verifies(token: object) -> str:
    """Refuse every token: of an installation that can verify none. Raises Unauthorized."""
    raise Unauthorized(
        "ingest has nothing to verify user tokens with: set TEMAS_USER_TOKEN_SECRET or TEMAS_USER_TOKEN_JWKS for it"
    )


class Proof(msgspec.Struct, frozen=True):
    """The proof that a request brings of who its calls speak of.

    `token` is its batch's or its header's; a call's own goes before. `subject` gives the user id that a token is of, or
    raises Unauthorized where it is none. `proven` is the user id that was proven when a rejected event arrived.
    """

    token: object = None
    subject: Callable[[object], str] = nothing_verifies
    proven: str | None = None

    def user_id(self, own: object) -> str:
        """The user id that is proven, where a call has a token of its `own`, or None. Raises Unauthorized."""
        if self.proven is not None:
            return self.proven
        return self.subject(self.token if own is None else own)


NO_PROOF = Proof()


def unproven(call: Call, own: object, proof: Proof) -> tuple[Reason, ...]:
    """Tell why it is not proven of whom `call` speaks, which has a token of its `own`, or None.

    Empty where it is proven, and where the call says of nobody who they are.
    """
    if not states_identity(call) and not call.external_ids:
        return ()
    if call.user_id is None:
        message = "this source asks for proof of who somebody is: say it under the userId that a user token is of"
        return (Reason("$.userId", NOT_PROVEN, message),)
    try:
        proven = proof.user_id(own)
    except Unauthorized as error:
        return (Reason(f"$.context.{TOKEN}", NOT_PROVEN, error.message),)
    if proven != call.user_id:
        message = "the user token is of somebody else: its sub must be the userId of the call"
        return (Reason(f"$.context.{TOKEN}", NOT_PROVEN, message),)
    return ()


# --- what is kept of rejected events ---------------------------------------------------------------------------------

_WRITTEN = re.compile(rb'(userToken(?:"\s*:\s*"|%22(?:%20|\+)*%3A(?:%20|\+)*%22|=))[^"%&\s\\]+')
"""A token where it can't be told what it stands in: in broken JSON, or in the address of an image."""

_fields = msgspec.json.Decoder(dict[str, Raw])


def without_tokens(body: bytes, *, is_event: bool = True) -> bytes:
    """`body`, as it was received and whatever it is, without the token in it.

    Of a call, or an event that holds one, only what stands in its `context` is one; what cannot be read, and a batch
    that was refused as a whole, lose whatever looks like one. `is_event`: it may be one, which holds a call as `data`;
    that call holds no other, however deeply somebody nests it.
    """
    try:
        fields = _fields.decode(body)
    except (ValueError, RecursionError):
        return _WRITTEN.sub(rb"\1", body)
    if "batch" in fields:
        return _WRITTEN.sub(rb"\1", body)
    kept = {name: _kept(name, raw, is_event) for name, raw in fields.items()}
    return body if kept == fields else msgspec.json.encode(kept)


def _kept(name: str, raw: Raw, is_event: bool) -> Raw:
    """A field of a call, or of an event, without the token in it."""
    if name == "data" and is_event:
        return Raw(without_tokens(bytes(raw), is_event=False))
    if name != "context":
        return raw
    try:
        context = _fields.decode(raw)
    except (ValueError, RecursionError):
        return Raw(_WRITTEN.sub(rb"\1", bytes(raw)))
    return raw if context.pop(TOKEN, None) is None else Raw(msgspec.json.encode(context))

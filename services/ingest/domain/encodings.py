"""Undoing a body's compression: gzip, deflate, zstd and br, as the header says, or as the body itself shows.

Nothing here makes more than a little over `limit` bytes or works for long, however small the body is, and nothing
raises: what can't be read is given back as a `Reason`. gzip and zstd show by their first bytes, whatever the header
says: some clients forget the header, and some proxies unpack and leave it. No JSON begins like that.

Why these libraries: zlib, zstd and brotli can each be told to stop after so many bytes of output, and say whether
the end was reached and what came after it. cramjam, which reads all four and is installed for Kafka's sake, can't: it
grows its output without a limit, or fills a buffer of a fixed size without saying where the input ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import brotli
from backports import zstd

from shared.events import Reason

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

LAYERS = 2
"""Codings of one body. One is usual; a proxy may add its own."""

PARTS = 64
"""Members of a gzip, frames of a zstd. Writers that flush make several; a thousand empty ones are an attack."""

WINDOW_LOG = 23
"""Of the bytes that a zstd may look back, and we have to hold: the 8 MB that RFC 9659 allows over HTTP."""

_ZLIB, _GZIP, _RAW = zlib.MAX_WBITS, zlib.MAX_WBITS | 16, -zlib.MAX_WBITS


def inflated(body: bytes, encoding: str, limit: int) -> bytes | Reason:
    """`body` without the compression that `encoding` (the header `Content-Encoding`) names or its first bytes show.

    Reasons: `unknown_encoding`, `too_large` (more than `limit` bytes when unpacked), `malformed_encoding`.
    """
    if not encoding and not _packed(body):
        return body
    codings = [coding for each in encoding.split(",") if (coding := each.strip().lower()) not in ("", "identity")]
    strange = next((coding for coding in codings if coding not in _UNPACK), None)
    if strange is not None:
        return Reason("$", "unknown_encoding", f"send it as it is, or as {_KNOWN}; {strange[:40]!r} is not read here")
    if len(codings) > LAYERS:
        return Reason("$", "unknown_encoding", f"a body may be compressed {LAYERS} times at most: compress it once")
    try:
        for coding in reversed(codings):
            body = _UNPACK[coding](body, limit)
        return _shown(body, limit) if _packed(body) else body
    except _Unreadable as error:
        return error.reason


class _Unreadable(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.reason = Reason("$", code, message)


def _packed(body: bytes) -> bool:
    return body.startswith((GZIP, ZSTD))


def _shown(body: bytes, limit: int) -> bytes:
    return _gunzipped(body, limit) if body.startswith(GZIP) else _unzstd(body, limit)


def _gunzipped(body: bytes, limit: int) -> bytes:
    """All members of a gzip; the body itself where it is none, since somebody on the way has unpacked it."""
    return _parts(body, limit, GZIP, lambda part, room: _deflated(part, room, _GZIP))


def _unzstd(body: bytes, limit: int) -> bytes:
    return _parts(body, limit, ZSTD, _frame)


def _inflated(body: bytes, limit: int) -> bytes:
    """HTTP's deflate is zlib's format; some clients send the bare stream under that name."""
    wbits = _ZLIB if len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0 else _RAW
    text, rest = _deflated(body, limit, wbits)
    return _whole(text, rest, limit)


def _unbrotli(body: bytes, limit: int) -> bytes:
    inflate = brotli.Decompressor()
    try:
        text: bytes = inflate.process(body, output_buffer_limit=limit + 1)
    except brotli.error:
        raise _malformed("br") from None
    _bounded(text, limit)
    if not inflate.is_finished():
        raise _cut_short()
    return text


_UNPACK: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _inflated,
    "zstd": _unzstd,
    "br": _unbrotli,
}
_KNOWN = "gzip, deflate, zstd or br"


# --- one part after the other ----------------------------------------------------------------------------------------


def _parts(body: bytes, limit: int, magic: bytes, read: Callable[[bytes, int], tuple[bytes, bytes]]) -> bytes:
    """The texts of all parts that begin with `magic`. `read` gives the first one's, and the bytes behind it."""
    texts: list[bytes] = []
    room, rest = limit, body
    while rest.startswith(magic):
        if len(texts) == PARTS:
            raise _Unreadable("malformed_encoding", f"the body is compressed in more than {PARTS} parts: use one")
        text, rest = read(rest, room)
        room -= len(_bounded(text, room))
        texts.append(text)
    return _whole(b"".join(texts), rest, limit) if texts else body


def _deflated(body: bytes, room: int, wbits: int) -> tuple[bytes, bytes]:
    inflate = zlib.decompressobj(wbits)
    try:
        text = inflate.decompress(body, room + 1)
    except zlib.error:
        raise _malformed("gzip or deflate") from None
    return text, _rest(inflate, text, room)


def _frame(body: bytes, room: int) -> tuple[bytes, bytes]:
    inflate = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
    try:
        text = inflate.decompress(body, room + 1)
    except zstd.ZstdError:
        raise _malformed("zstd") from None
    return text, _rest(inflate, text, room)


def _rest(inflate: Any, text: bytes, room: int) -> bytes:
    """What stands behind the end that `inflate` has found."""
    if not inflate.eof and len(text) <= room:
        raise _cut_short()
    rest: bytes = inflate.unused_data
    return rest


def _bounded(text: bytes, limit: int) -> bytes:
    if len(text) > limit:
        raise _Unreadable("too_large", "the body is too large when unpacked: send smaller batches")
    return text


def _whole(text: bytes, rest: bytes, limit: int) -> bytes:
    """`text`, where nothing but padding stands behind it: what else is there would be lost in silence."""
    if rest.strip(b"\0"):
        raise _Unreadable("malformed_encoding", "there is more behind the end of the compressed body")
    return _bounded(text, limit)


def _malformed(coding: str) -> _Unreadable:
    return _Unreadable("malformed_encoding", f"the body is not the {coding} that it says it is")


def _cut_short() -> _Unreadable:
    return _Unreadable("malformed_encoding", "the compressed body is cut short: send it whole")

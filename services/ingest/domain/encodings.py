"""Undoing a body's compression: gzip, deflate, zstd and br, as the header says, or as the body itself shows.

A body is unpacked piece by piece, and no further than somebody asks: `PIECE` bytes cost a fraction of a millisecond,
whatever is in them, so that between two pieces others can have their turn, and who a request is from is found in the
first ones. Nothing here makes more than a little over `limit` bytes, however small the body is, and nothing raises but
`Unreadable`, with its `Reason`. gzip and zstd show by their first bytes, whatever the header says: some clients forget
the header, and some proxies unpack and leave it. No JSON begins like that.

Why these libraries: zlib, zstd and brotli can each be told to stop after so many bytes of output, and say whether
the end was reached and what came after it. cramjam, which reads all four and is installed for Kafka's sake, can't: it
grows its output without a limit, or fills a buffer of a fixed size without saying where the input ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import brotli
from backports import zstd

from shared.events import Reason

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

LAYERS = 2
"""Codings of one body. One is usual; a proxy may add its own."""

PARTS = 64
"""Members of a gzip, frames of a zstd. Writers that flush make several; a thousand empty ones are an attack."""

PIECE = 64 * 1024
"""Bytes read, and bytes made, in one step."""

WINDOW_LOG = 23
"""Of the bytes that a zstd may look back, and we have to hold: the 8 MB that RFC 9659 allows over HTTP."""

_ZLIB, _GZIP, _RAW = zlib.MAX_WBITS, zlib.MAX_WBITS | 16, -zlib.MAX_WBITS

Pieces = Iterator[bytes]


class Unreadable(Exception):
    """A body that can't be unpacked: `unknown_encoding`, `too_large` or `malformed_encoding`."""

    def __init__(self, code: str, message: str) -> None:
        self.reason = Reason("$", code, message)


def is_packed(body: bytes, encoding: str) -> bool:
    """Tell whether there is anything to undo, as the header `Content-Encoding` or the first bytes of `body` say."""
    return bool(encoding) or body.startswith((GZIP, ZSTD))


def inflated(body: bytes, encoding: str, limit: int) -> bytes | Reason:
    """`body` without its compression, all of it at once; or what is wrong with it."""
    if not is_packed(body, encoding):
        return body
    unpacking = Unpacking(body, encoding, limit)
    unpacking.up_to(limit + 1)
    return unpacking.text()


class Unpacking:
    """A body that is unpacked as far as somebody asks. `ended`: there is no more, or it is `wrong`."""

    def __init__(self, body: bytes, encoding: str, limit: int) -> None:
        self.coming = unpacked(body, encoding, limit)
        self.pieces: list[bytes] = []
        self.size = 0
        self.ended = False
        self.wrong: Reason | None = None

    def more(self) -> bool:
        """Unpack a piece. False at the end."""
        try:
            piece = next(self.coming, None)
        except Unreadable as error:
            piece, self.wrong = None, error.reason
            self.drop()
        if piece is None:
            self.ended = True
            return False
        self.pieces.append(piece)
        self.size += len(piece)
        return True

    def up_to(self, size: int) -> None:
        """Unpack until so many bytes are there, or the end is."""
        while self.size < size and self.more():
            pass

    def drop(self) -> None:
        """Hold nothing of it any more: an error that tells of it may be held for longer than its bytes should be."""
        self.pieces.clear()
        self.coming = iter(())

    def text(self) -> bytes | Reason:
        """The bytes that were unpacked until now, or what is wrong with them."""
        return self.wrong or b"".join(self.pieces)


def unpacked(body: bytes, encoding: str, limit: int) -> Pieces:
    """The pieces of `body` without the compression that `encoding` names or its first bytes show.

    Raises Unreadable, with `too_large` once they come to more than `limit` bytes.
    """
    source = _Source(_cut(body))
    for coding in reversed(_codings(encoding)):
        source = _Source(_undone(source, coding, limit))
    shown = next((coding for coding, magic in _MAGIC.items() if source.begins_with(magic)), None)
    yield from source if shown is None else _undone(source, shown, limit)


def _codings(encoding: str) -> list[str]:
    codings = [coding for each in encoding.split(",") if (coding := each.strip().lower()) not in ("", "identity")]
    strange = next((coding for coding in codings if coding not in _ENGINES), None)
    if strange is not None:
        known = "gzip, deflate, zstd or br"
        raise Unreadable("unknown_encoding", f"send it as it is, or as {known}; {strange[:40]!r} is not read here")
    if len(codings) > LAYERS:
        raise Unreadable("unknown_encoding", f"a body may be compressed {LAYERS} times at most: compress it once")
    return ["gzip" if coding == "x-gzip" else coding for coding in codings]


def _cut(body: bytes) -> Pieces:
    if len(body) <= PIECE:
        return iter((body,) if body else ())
    return (body[start : start + PIECE] for start in range(0, len(body), PIECE))


class _Source:
    """Pieces, of which one can look at the first bytes. None of them is empty."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.ahead = b""

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        if self.ahead:
            piece, self.ahead = self.ahead, b""
            return piece
        return next(self.pieces)

    def first(self, size: int) -> bytes:
        """The first bytes of what is still to come, which still comes."""
        while len(self.ahead) < size and (piece := next(self.pieces, None)) is not None:
            self.ahead += piece
        return self.ahead[:size]

    def begins_with(self, magic: bytes) -> bool:
        return self.first(len(magic)) == magic


def _undone(source: _Source, coding: str, limit: int) -> Pieces:
    """The pieces of all parts of a `coding`; the source's own where it is not packed: somebody on the way did that."""
    magic = _MAGIC.get(coding)
    if magic and not source.begins_with(magic):
        yield from source
        return
    parts, room = 0, limit
    while parts == 0 or (magic and source.begins_with(magic)):
        if parts == PARTS:
            raise Unreadable("malformed_encoding", f"the body is compressed in more than {PARTS} parts: use one")
        for piece in _part(source, coding):
            room -= len(piece)
            if room < 0:
                raise Unreadable("too_large", "the body is too large when unpacked: send smaller batches")
            yield piece
        parts += 1
    if any(piece.strip(b"\0") for piece in source):  # padding says nothing; what else is there would be lost in silence
        raise Unreadable("malformed_encoding", "there is more behind the end of the compressed body")


def _part(source: _Source, coding: str) -> Pieces:
    engine = _ENGINES[coding](source)
    while not engine.ended:
        packed = next(source, None)
        if packed is None:
            raise Unreadable("malformed_encoding", "the compressed body is cut short: send it whole")
        try:
            yield from engine.fed(packed)
        except (zlib.error, zstd.ZstdError, brotli.error):
            raise Unreadable("malformed_encoding", f"the body is not the {coding} that it says it is") from None
    source.ahead = engine.rest + source.ahead


# --- the libraries ---------------------------------------------------------------------------------------------------


class _Engine(Protocol):
    """Undoes one part. `ended`: it is complete; `rest` is what was behind its end in the bytes that it was fed."""

    @property
    def ended(self) -> bool: ...

    @property
    def rest(self) -> bytes: ...

    def fed(self, packed: bytes) -> Pieces: ...


class _Deflate:
    """zlib's formats, `wbits` tells which."""

    def __init__(self, wbits: int) -> None:
        self.inflate = zlib.decompressobj(wbits)

    @property
    def ended(self) -> bool:
        return self.inflate.eof

    @property
    def rest(self) -> bytes:
        return self.inflate.unused_data

    def fed(self, packed: bytes) -> Pieces:
        while piece := self.inflate.decompress(packed, PIECE):
            yield piece
            if self.inflate.eof:
                return  # what is behind the end is called unconsumed, too
            packed = self.inflate.unconsumed_tail


class _Zstd:
    def __init__(self) -> None:
        self.inflate: Any = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})

    @property
    def ended(self) -> bool:
        return bool(self.inflate.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self.inflate.unused_data)

    def fed(self, packed: bytes) -> Pieces:
        while True:
            if piece := self.inflate.decompress(packed, PIECE):
                yield piece
            if self.inflate.eof or self.inflate.needs_input:
                return
            packed = b""


class _Brotli:
    rest = b""  # it does not say: what is behind its end is an error

    def __init__(self) -> None:
        self.inflate = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self.inflate.is_finished())

    def fed(self, packed: bytes) -> Pieces:
        while True:
            piece = self.inflate.process(packed, output_buffer_limit=PIECE)
            if piece:
                yield piece
            elif self.inflate.can_accept_more_data():
                return  # before that, what it holds back may be the end
            if self.inflate.is_finished():
                return
            packed = b""


def _deflate(source: _Source) -> _Engine:
    """HTTP's deflate is zlib's format; some clients send the bare stream under that name."""
    first = source.first(2)
    is_zlib = len(first) > 1 and first[0] & 15 == 8 and int.from_bytes(first) % 31 == 0
    return _Deflate(_ZLIB if is_zlib else _RAW)


_MAGIC: Mapping[str, bytes] = {"gzip": GZIP, "zstd": ZSTD}
_ENGINES: Mapping[str, Callable[[_Source], _Engine]] = {
    "gzip": lambda _: _Deflate(_GZIP),
    "x-gzip": lambda _: _Deflate(_GZIP),
    "deflate": _deflate,
    "zstd": lambda _: _Zstd(),
    "br": lambda _: _Brotli(),
}

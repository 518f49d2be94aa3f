"""Compressed bodies: read whole, or refused by name, and never at a price."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd as zstd_module
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.encodings import LAYERS, PARTS, inflated
from shared.events import Reason
from tests.ingest.packing import zstd

LIMIT = 1_000_000
BODY = json.dumps({"batch": [{"event": f"Viewed {n}", "userId": "u"} for n in range(500)]}).encode()


def raw_deflate(body: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(body) + compress.flush()


def zstd_streamed(body: bytes) -> bytes:
    """As a client writes it that does not know the size beforehand."""
    return zstd_module.compress(body, options={zstd_module.CompressionParameter.content_size_flag: 0})


Pack = Callable[[bytes], bytes]
PACKED: list[tuple[str, Pack]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd),
    ("zstd", zstd_streamed),
    ("br", brotli.compress),
]
each_coding = pytest.mark.parametrize(("coding", "pack"), PACKED, ids=lambda each: getattr(each, "__name__", each))


def code(found: object) -> str:
    assert isinstance(found, Reason)
    return found.code


@each_coding
def test_each_coding_is_read(coding: str, pack: Pack) -> None:
    for written in (coding, coding.upper(), f" {coding} ", f"identity, {coding}"):
        assert inflated(pack(BODY), written, LIMIT) == BODY


def test_what_is_not_compressed_stays_as_it_is() -> None:
    for encoding in ("", "identity", "identity, identity"):
        assert inflated(BODY, encoding, LIMIT) is BODY


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("said", ["", "identity", "gzip", "zstd"])
def test_gzip_and_zstd_show_by_themselves_whatever_the_header_says(pack: Pack, said: str) -> None:
    assert inflated(pack(BODY), said, LIMIT) == BODY


@pytest.mark.parametrize("said", ["gzip", "x-gzip", "zstd"])
def test_what_somebody_on_the_way_has_unpacked_is_taken_as_it_is(said: str) -> None:
    assert inflated(BODY, said, LIMIT) == BODY


def test_codings_are_undone_in_reverse() -> None:
    assert inflated(brotli.compress(gzip.compress(BODY)), "gzip, br", LIMIT) == BODY
    assert inflated(gzip.compress(zlib.compress(BODY)), "deflate, gzip", LIMIT) == BODY
    assert inflated(gzip.compress(gzip.compress(BODY)), "gzip", LIMIT) == BODY  # a proxy added its own, without a word


@pytest.mark.parametrize("encoding", ["compress", "bzip2", "gzip, snappy", "aes128gcm"])
def test_a_coding_that_is_not_read_is_named(encoding: str) -> None:
    found = inflated(BODY, encoding, LIMIT)
    assert code(found) == "unknown_encoding"
    assert isinstance(found, Reason)
    assert encoding.rsplit(", ", maxsplit=1)[-1] in found.message


def test_too_many_layers_are_refused() -> None:
    assert code(inflated(BODY, ", ".join(["gzip"] * (LAYERS + 1)), LIMIT)) == "unknown_encoding"


# --- the end -----------------------------------------------------------------------------------------------------


@each_coding
def test_a_body_that_is_cut_short_is_refused_wherever_it_is_cut(coding: str, pack: Pack) -> None:
    whole = pack(BODY)
    for length in (len(whole) - 1, len(whole) // 2, 5):
        assert code(inflated(whole[:length], coding, LIMIT)) == "malformed_encoding"


@each_coding
def test_nothing_behind_the_end_is_lost_in_silence(coding: str, pack: Pack) -> None:
    assert code(inflated(pack(BODY) + b'{"batch": []}', coding, LIMIT)) == "malformed_encoding"


@pytest.mark.parametrize("pack", [gzip.compress, zstd, zstd_streamed])
def test_a_body_in_several_parts_is_read_to_its_last(pack: Pack) -> None:
    parts = [BODY[start : start + 5_000] for start in range(0, len(BODY), 5_000)]
    assert len(parts) > 3
    assert inflated(b"".join(map(pack, parts)), "", LIMIT) == BODY


def test_a_gzip_may_be_padded() -> None:
    assert inflated(gzip.compress(BODY) + b"\0" * 9, "gzip", LIMIT) == BODY


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_thousands_of_empty_parts_are_refused_at_once(pack: Pack) -> None:
    """It takes as long as a few with as many bytes behind them."""

    def took(body: bytes) -> float:
        began = time.process_time()
        assert code(inflated(body, "", LIMIT)) == "malformed_encoding"
        return time.process_time() - began

    many = pack(b"") * (4_500_000 // len(pack(b"")))
    few = pack(b"") * (PARTS + 1)
    few += b"x" * (len(many) - len(few))
    assert min(took(many) for _ in range(3)) < 10 * max(took(few) for _ in range(3))
    assert inflated(pack(b"x") * PARTS, "", LIMIT) == b"x" * PARTS


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
@pytest.mark.parametrize("body", [b"\x1f\x8b nonsense", b"\x28\xb5\x2f\xfd nonsense", b"\x78\x9c nonsense"])
def test_what_only_looks_compressed_is_refused(encoding: str, body: bytes) -> None:
    found = inflated(body, encoding, LIMIT)
    assert found == body if encoding in ("gzip", "zstd") and body[0] == 0x78 else code(found) == "malformed_encoding"


# --- bombs -------------------------------------------------------------------------------------------------------


@each_coding
def test_the_limit_is_to_the_byte(coding: str, pack: Pack) -> None:
    assert inflated(pack(b"0" * LIMIT), coding, LIMIT) == b"0" * LIMIT
    assert code(inflated(pack(b"0" * (LIMIT + 1)), coding, LIMIT)) == "too_large"


@each_coding
def test_a_bomb_costs_nothing(coding: str, pack: Pack) -> None:
    """Of memory, and of time no more than what is the limit to the byte."""

    def took(body: bytes) -> float:
        began = time.process_time()
        inflated(body, coding, LIMIT)
        return time.process_time() - began

    bomb, largest = pack(b"0" * 200 * LIMIT), pack(b"0" * LIMIT)
    assert len(bomb) < LIMIT
    tracemalloc.start()
    found = inflated(bomb, coding, LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code(found) == "too_large"
    assert most < 12 * LIMIT
    assert min(took(bomb) for _ in range(5)) < 20 * max(took(largest) for _ in range(5))


def test_bombs_in_parts_and_in_layers_add_up() -> None:
    halves = gzip.compress(b"0" * (LIMIT // 2)) * 3
    assert code(inflated(halves, "gzip", LIMIT)) == "too_large"
    assert code(inflated(gzip.compress(gzip.compress(b"0" * 100 * LIMIT)), "gzip", LIMIT)) == "too_large"


def test_a_zstd_that_asks_for_a_large_window_is_refused() -> None:
    compress = zstd_module.ZstdCompressor(options={zstd_module.CompressionParameter.window_log: 27})
    assert code(inflated(compress.compress(BODY) + compress.flush(), "zstd", LIMIT)) == "malformed_encoding"


def test_a_zstd_that_lies_about_its_size_is_refused() -> None:
    body = bytearray(zstd(b"0" * 200))
    body[5] = 100  # the size, in one byte behind the descriptor
    assert code(inflated(bytes(body), "zstd", LIMIT)) == "malformed_encoding"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "zstd", "br"]), st.sampled_from(PACKED))
def test_no_bytes_whatever_raise(body: bytes, encoding: str, packed: tuple[str, Pack]) -> None:
    _, pack = packed
    for sent in (body, pack(body), pack(body)[:-3] + body, b"\x1f\x8b\x08" + body, b"\x28\xb5\x2f\xfd" + body):
        assert isinstance(inflated(sent, encoding, 100), bytes | Reason)

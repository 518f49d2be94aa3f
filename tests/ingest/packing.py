"""Bodies packed as clients pack them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping

import brotli
from backports import zstd as zstd_module


def zstd(body: bytes) -> bytes:
    return zstd_module.compress(body)


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd,
    "br": brotli.compress,
}
"""By the name of the content coding."""

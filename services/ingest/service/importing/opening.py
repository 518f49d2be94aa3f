"""A file's bytes, unpacked where they are packed, and how many of them have been read."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from backports import zstd

from services.ingest.errors import NotImported, Unfinished

STDIN = "-"

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""What packed files begin with. Their names may say so too, or not."""


@dataclass(frozen=True)
class Opened:
    """`stream` gives the unpacked bytes. `size`: of the file as it lies there; None where it is a pipe."""

    stream: BinaryIO
    size: int | None
    file: BinaryIO

    def read(self) -> int:
        """Bytes of the file that have been read: the measure of how far it is."""
        if self.size is None:
            return 0
        return self.size if self.file.closed else self.file.tell()  # what reads text closes it at its end


@contextmanager
def opened(name: str) -> Iterator[Opened]:
    """The file `name`, or standard input. Raises NotImported; and Unfinished where what is packed ends too early."""
    if name == STDIN:
        stdin = cast(io.BufferedReader, sys.stdin.buffer)
        yield Opened(_unpacked(stdin), None, stdin)
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below; only opening it may fail in this way
    except OSError as error:
        raise NotImported(f"{name} can't be read: {error.strerror}") from None
    with file:
        try:
            yield Opened(_unpacked(file), os.stat(name).st_size, file)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            raise Unfinished(f"{name} is cut short or damaged ({error}): copy it here once more") from None


def _unpacked(file: io.BufferedReader) -> BinaryIO:
    first = file.peek(4)
    if first.startswith(GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if first.startswith(ZSTD):
        return cast(BinaryIO, zstd.ZstdFile(file))
    return file

"""What is looked at before anything starts, so that what is wrong is said in one sentence and not in four logs."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from deploy.local.errors import Refused
from deploy.local.settings import LOOPBACK

ENOUGH = 500 * 1024 * 1024
"""Bytes: an empty PostgreSQL and Kafka take 150 MB, the jars 45, and there must be room to work."""

HIGHEST_PORT = 65_535


def free_disk(folder: Path) -> None:
    """Raise Refused where the disk that holds `folder` is too full to start."""
    free = shutil.disk_usage(folder).free
    if free < ENOUGH:
        raise Refused(
            f"Only {free // 2**20} MB are free on the disk of {folder}, and {ENOUGH // 2**20} MB are needed: "
            "free some, or set TEMAS_HOME to a folder on another disk."
        )


def free_ports(ports: Mapping[str, int]) -> None:
    """Raise Refused, naming who has it, where one of `ports` (by the name of who wants it) is taken."""
    for name, port in ports.items():
        if port > HIGHEST_PORT:
            raise Refused(f"There is no port {port} for {name}: set TEMAS_PORT_OFFSET to a smaller number.")
        if not _is_free(port):
            raise Refused(
                f"Port {port}, which {name} needs, is taken{_by_whom(port)}: "
                "end that, or move all ports with TEMAS_PORT_OFFSET=100 make up."
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that linger after their server has ended don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise Refused(f"Port {port} is for root only: set TEMAS_PORT_OFFSET to 0 or more.") from error
            return False
    return True


def _by_whom(port: int) -> str:
    with contextlib.suppress(psutil.Error):  # others' connections are not always ours to see
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.pid and (each.laddr and each.laddr.port == port):
                return f" by {psutil.Process(each.pid).name()} (process {each.pid})"
    return ""


def answers(address: str, variable: str) -> None:
    """Raise Refused where nothing listens at `address` (host:port), which `variable` gave."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise Refused(
            f"{variable} is set, and nothing answers at {address} ({error}): "
            f"start it, or unset {variable} to have one started here."
        ) from error

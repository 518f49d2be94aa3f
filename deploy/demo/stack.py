"""The stack under the demo: brought up as `make up` does, and found by the environment that it writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from deploy.demo.errors import DemoFailed
from deploy.local.home import Home
from deploy.local.settings import ROOT, Settings


def bring_up() -> Mapping[str, str]:
    """Start what is not running yet and wait until it serves. Gives the stack's environment. Raises DemoFailed."""
    up = subprocess.run([sys.executable, "-m", "deploy.local", "up"], cwd=ROOT, check=False)
    if up.returncode:
        raise DemoFailed("the stack did not come up: what is above says why.")
    path = Home.at(Settings.from_environment().home).environment
    try:
        return read_environment(path.read_text())
    except OSError as error:
        raise DemoFailed(f"{path} can't be read ({error}): type `make down` and then `make demo`.") from error


def read_environment(text: str) -> dict[str, str]:
    """The `NAME=value` lines of an environment file; comments and empty lines say nothing."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, equals, value in pairs if equals}

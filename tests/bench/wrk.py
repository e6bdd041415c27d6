"""Closed-loop load by wrk (https://github.com/wg/wrk): each connection asks again as soon as it has its answer."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.request import MEDIA_TYPE, Request

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests per second, latencies in seconds, and how many answers were none or had another status."""

    per_second: float
    p50: float
    p99: float
    requests: int
    failed: int


def requirement() -> str | None:
    """What is missing, if anything is."""
    return None if shutil.which("wrk") else "wrk is not on PATH (`apt install wrk`)"


def script(file: Path, requests: Sequence[Request]) -> Path:
    """A script that sends these requests in turn."""
    formatted = "\n".join(
        f"  wrk.format({_lua(request.method)}, {_lua(request.path)}, json, {_lua(request.body)}),"
        for request in requests
    )
    file.write_text(
        f'local json = {{["Content-Type"] = {_lua(MEDIA_TYPE)}}}\nlocal requests = {{}}\nlocal next = 0\n'
        f"init = function() requests = {{\n{formatted}\n}} end\n"
        "request = function() next = next % #requests + 1; return requests[next] end\n"
    )
    return file


def run(url: str, script_file: Path, connections: int, seconds: int) -> Load:
    """Load for a while. RuntimeError if wrk fails."""
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency",
        "--timeout", "10s", "--script", str(script_file), url,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"wrk ended with {ended.returncode}: {ended.stderr.strip() or ended.stdout.strip()}")
    return parse(ended.stdout)


def parse(text: str) -> Load:
    """What wrk printed."""
    failed = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return Load(
        float(_only(r"Requests/sec:\s+([\d.]+)", text)),
        _seconds(_only(r"50%\s+([\d.]+[a-z]+)", text)),
        _seconds(_only(r"99%\s+([\d.]+[a-z]+)", text)),
        int(_only(r"(\d+) requests in", text)),
        failed,
    )


def _only(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk said nothing like {pattern!r}: {text}")
    return found[1]


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def _lua(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

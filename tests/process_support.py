"""Processes as a test sees them from outside, by Linux's /proc; and waiting for what they do."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return once `condition()` is true; an AssertionError that says `what` was waited for otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected by its parent yet does not."""
    return _parent_and_state(pid)[1] not in ("gone", "Z", "X")


def descendants(pid: int) -> set[int]:
    """The pids of all living processes below `pid`."""
    parents = {child: _parent_and_state(child)[0] for child in _pids()}
    found, before = {pid}, 0
    while len(found) > before:
        before = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return {child for child in found - {pid} if is_alive(child)}


def working_below(folder: Path) -> set[int]:
    """The pids of all living processes whose working directory is in `folder`."""
    return {pid for pid in _pids() if is_alive(pid) and _working_directory(pid).is_relative_to(folder.resolve())}


def owner(pid: int) -> int:
    """The uid of the user that the process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid


def command_line(pid: int) -> str:
    """The program and its arguments."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def _pids() -> Iterable[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent_and_state(pid: int) -> tuple[int, str]:
    try:
        # The name in parentheses may hold anything; what comes after the last one is plain.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, "gone"
    return int(fields[1]), fields[0]


def _working_directory(pid: int) -> Path:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # gone meanwhile, or another user's
        return Path("/")

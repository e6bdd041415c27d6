"""What a server costs, read from Linux's /proc: CPU time and memory of the process tree."""

import os
import re
from pathlib import Path

from tests.process_support import descendants

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that the process and its living descendants have used, and what has ended below them."""
    return sum(_cpu_seconds(one) for one in _tree(pid))


def memory_bytes(pid: int) -> int:
    """What is resident of them now."""
    return sum(_kibibytes(one, "VmRSS") for one in _tree(pid)) * 1024


def peak_memory_bytes(pid: int) -> int:
    """The most that was resident of each."""
    return sum(_kibibytes(one, "VmHWM") for one in _tree(pid)) * 1024


def _tree(pid: int) -> set[int]:
    return {pid} | descendants(pid)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS  # utime, stime, cutime, cstime


def _kibibytes(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0

"""What a timed command says about itself: JSON lines, each an instant with a name."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

STARTED, FINISHED = "started", "finished"


@dataclass(frozen=True)
class Event:
    """One line; `at` is in seconds, and comparable within one output alone."""

    name: str
    at: float
    fields: dict[str, Any]


def mark(name: str) -> None:
    """Print that this instant is here; behind a line's end, for bars of progress leave their line open."""
    print("\n" + json.dumps({"event": name, "monotonic": time.monotonic()}), flush=True)


def read(output: str) -> list[Event]:
    """The events among what a command wrote: of `mark`, and the log lines of jobs."""
    return list(_read(output))


def _read(output: str) -> Iterator[Event]:
    for line in output.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "event" in record:
            at = record["monotonic"] if "monotonic" in record else datetime.fromisoformat(record["time"]).timestamp()
            yield Event(record["event"], at, record)


def seconds_between(events: Sequence[Event], first: str, last: str) -> float:
    """From the first event of the one name to the last of the other. RuntimeError unless both are there."""
    starts, ends = ([event.at for event in events if event.name == name] for name in (first, last))
    if not starts or not ends:
        names = ", ".join(event.name for event in events)
        raise RuntimeError(f"no {last if starts else first} among the events ({names})")
    return ends[-1] - starts[0]

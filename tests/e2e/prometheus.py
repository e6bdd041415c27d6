"""A Prometheus in the cluster, asked through its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from tests.e2e.commands import WaitError
from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object

BETWEEN_LOOKS_SECONDS = 0.5
UP_SECONDS = 90.0
T = TypeVar("T")
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")


@dataclass(frozen=True)
class Sample:
    """One series at this moment."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Told by the URL that it answers at."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10.0)

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """What an expression gives, an instant vector: now, or `at` seconds since 1970."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        found = self._ask("query", query=expression, **moment)["result"]
        return [Sample(series["metric"], float(series["value"][1])) for series in found]

    def targets(self) -> list[Object]:
        """What it reads, and how that went: labels, health, lastError, ..."""
        found: list[Object] = self._ask("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[Object]:
        """Each rule that it evaluates, and how that went: name, type, query, health, lastError, ..."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[Object]:
        """The alerts that are pending or firing: labels, annotations, state, ..."""
        found: list[Object] = self._ask("alerts")["alerts"]
        return found

    def wait_until(
        self, expression: str, what: str, holds: Callable[[list[Sample]], bool] = bool, seconds: float = UP_SECONDS
    ) -> list[Sample]:
        """What the expression gives once that holds; by default, once it gives something. Raises WaitError."""
        return _until(lambda: self.query(expression), holds, what, seconds)

    def wait_until_up(self, jobs: Collection[str], seconds: float = UP_SECONDS) -> list[Object]:
        """The targets of these jobs, once each job has some and all of them could be read. Raises WaitError."""

        def ours() -> list[Object]:
            return [target for target in self.targets() if target["labels"]["job"] in jobs]

        def up(seen: list[Object]) -> bool:
            healthy = all(target["health"] == "up" for target in seen)
            return healthy and {target["labels"]["job"] for target in seen} == set(jobs)

        return _until(ours, up, f"targets of {', '.join(sorted(jobs))} that are up", seconds)

    def _ask(self, what: str, **parameters: str) -> Any:
        return self._client.get(f"/{what}", params=parameters).raise_for_status().json()["data"]


def _until(look: Callable[[], T], holds: Callable[[T], bool], what: str, seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        if time.monotonic() > deadline:
            raise WaitError(f"waited {seconds:g} s in vain: {what}; seen last: {seen}")
        time.sleep(BETWEEN_LOOKS_SECONDS)
    return seen


@contextmanager
def reached(namespace: Namespace, service: str) -> Iterator[Prometheus]:
    """The Prometheus behind a Service's port 9090, as an operator reaches it: by `kubectl port-forward`."""
    command = ["kubectl", "--namespace", namespace.name, "port-forward", f"service/{service}", ":9090"]
    with subprocess.Popen(command, env=namespace.cluster.environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            said = child.stdout.readline()
            found = FORWARDING.match(said)
            assert found, f"`{' '.join(command)}` said {said!r}"
            yield Prometheus(f"http://127.0.0.1:{found[1]}")
        finally:
            child.terminate()

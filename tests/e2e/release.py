"""A release of the chart, handled with helm as an operator does, and reached as its users do."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from tests.e2e.cluster import REPOSITORY
from tests.e2e.commands import WaitError
from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object

CHART = REPOSITORY / "charts" / "feature-platform"
TIMEOUT = "4m"
ROUTE_SECONDS = 30.0

Values: TypeAlias = Mapping[str, Any] | Path
"""Helm values: a mapping as in values.yaml, or a file. Later ones win."""
COMPONENTS = (
    "gateway", "featureServer", "postgres", "redis", "apply", "materialization", "trainingSet", "ingest", "sampleData",
    "helmTest", "prometheus",
)  # fmt: skip
MODEST: Values = {component: {"resources": {"requests": {"cpu": "10m"}}} for component in COMPONENTS}
"""Values of a release that a node has room for, however many others (or their last pods) have reserved CPUs of it."""


class Release:
    """The program is `helm`, or what the environment's HELM names, or `program`."""

    def __init__(self, namespace: Namespace, name: str = "churn", program: str = "") -> None:
        self.namespace, self.name = namespace, name
        self.program = program or os.environ.get("HELM", "helm")
        self.full = name if "feature-platform" in name else f"{name}-feature-platform"
        self.host = f"{namespace.name}.test"
        """What the ingress calls this release, if it was installed with `ingress_values`."""

    @property
    def ingress_values(self) -> Mapping[str, Any]:
        """Values of an Ingress that only this release answers."""
        return {"ingress": {"enabled": True, "host": self.host}}

    def install(self, *values: Values, wait: bool = True) -> str:
        """Install, by default until everything is ready; what helm says. Raises CommandError."""
        return self._change("install", values, wait)

    def upgrade(self, *values: Values, wait: bool = True, force_conflicts: bool = False) -> str:
        """Upgrade to exactly these values; what helm says. Raises CommandError.

        `force_conflicts` (Helm 4): take back the fields that somebody else has changed.
        """
        return self._change("upgrade", values, wait, *(["--force-conflicts"] if force_conflicts else []))

    def rollback(self, revision: int = 0) -> str:
        """Go back to a revision (0: the one before), until everything is ready. Raises CommandError."""
        return self._helm("rollback", self.name, str(revision), "--wait", "--timeout", TIMEOUT)

    def uninstall(self) -> str:
        """Remove the release, until its pods are gone. Raises CommandError."""
        return self._helm("uninstall", self.name, "--wait", "--timeout", TIMEOUT)

    def test(self) -> str:
        """`helm test`; what it says. Raises CommandError if the test fails."""
        return self._helm("test", self.name, "--timeout", TIMEOUT)

    def told(self) -> str:
        """All that helm tells of the release: values, objects, notes."""
        return self._helm("get", "all", self.name)

    def client(self) -> httpx.Client:
        """An HTTP client through the ingress; waits until the ingress controller knows the release."""
        deadline = time.monotonic() + ROUTE_SECONDS
        with self.namespace.cluster.through_ingress(self.host) as client:
            while (answer := client.get("/livez")).status_code != 200:
                if time.monotonic() > deadline:
                    raise WaitError(
                        f"waited {ROUTE_SECONDS:g} s in vain: the ingress to serve {self.host}; seen last: {answer}"
                    )
                time.sleep(0.1)
        return self.namespace.cluster.through_ingress(self.host)

    def sql(self, query: str) -> list[Object]:
        """The rows that the release's own Postgres answers, as its superuser; values as in JSON."""
        user = '"$(cat /run/secrets/superuser/username)"'
        command = f"exec psql -X -q -A -t -v ON_ERROR_STOP=1 -U {user} -d feature_platform -f -"
        return psql_rows(self.namespace, f"{self.full}-postgres-0", command, query)

    def _change(self, verb: str, values: tuple[Values, ...], wait: bool, *more: str) -> str:
        waiting = ["--wait", "--timeout", TIMEOUT] if wait else []
        repository, _, tag = self.namespace.cluster.image.rpartition(":")
        with _files(({"image": {"repository": repository, "tag": tag}}, *values)) as files:
            flags = [part for file in files for part in ("--values", str(file))]
            return self._helm(verb, self.name, str(CHART), *flags, *waiting, *more)

    def _helm(self, *arguments: str) -> str:
        return self.namespace.cluster.run(self.program, *arguments, "--namespace", self.namespace.name).decode()


def psql_rows(namespace: Namespace, pod: str, command: str, query: str) -> list[Object]:
    """The rows that a query gets in a pod where the shell's `command` is psql; values as in JSON."""
    as_json = f"SELECT coalesce(json_agg(answer), '[]') FROM ({query}) AS answer"
    rows: list[Object] = json.loads(namespace.exec(pod, "sh", "-c", command, stdin=as_json.encode()))
    return rows


@contextmanager
def _files(values: tuple[Values, ...]) -> Iterator[list[Path]]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        files = []
        for place, part in enumerate(values):
            if isinstance(part, Path):
                files.append(part)
                continue
            files.append(folder / f"{place}.json")
            files[-1].write_text(json.dumps(part))
        yield files

"""Probe pods, which try who may connect to whom, and the table that comes of it."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import ndiff

from tests.e2e import in_pods
from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object
from tests.e2e.toolbox import manifest

RUNNING_SECONDS = 120
# Nobody ever sets this condition, so that a probe with a gateway's labels is no endpoint of the gateways' Service.
NEVER_READY = [{"conditionType": "feature-platform.test/serves"}]
OPEN, CLOSED = "yes", "-"

Reached = Mapping[str, Mapping[str, bool]]
"""Probe -> target -> whether a connection came about."""


@dataclass(frozen=True)
class Probe:
    """A pod with the labels that policies go by; `hidden` from Services, which go by the same."""

    namespace: Namespace
    labels: Mapping[str, str]
    hidden: bool = False


def start(probes: Mapping[str, Probe]) -> dict[str, str]:
    """Create a pod for each probe and wait until all of them run; their names."""
    names = {role: f"probe-{place}" for place, role in enumerate(probes)}
    for role, probe in probes.items():
        pod = manifest(names[role], probe.namespace.cluster.image, probe.labels, {})
        pod["metadata"]["annotations"] = {"feature-platform.test/role": role}
        pod["spec"]["readinessGates"] = NEVER_READY if probe.hidden else []
        probe.namespace.objects.create(pod)
    for role, probe in probes.items():
        probe.namespace.objects.until(
            "Pod", _running, f"the probe of {role} to run", seconds=RUNNING_SECONDS, name=names[role]
        )
    return names


def _running(seen: Mapping[str, Object]) -> bool:
    return any(
        status.get("state", {}).get("running")
        for pod in seen.values()
        for status in pod["status"].get("containerStatuses") or []
    )


def reached(probes: Mapping[str, Probe], names: Mapping[str, str], targets: Mapping[str, str]) -> Reached:
    """Let every probe try every target (as `in_pods/reach.py` takes them), all at once."""
    order = json.dumps(dict(targets)).encode()

    def asked(role: str) -> Mapping[str, bool]:
        said = probes[role].namespace.exec(names[role], *in_pods.command("reach"), stdin=order)
        answers: Mapping[str, bool] = json.loads(said)
        return answers

    with ThreadPoolExecutor(len(probes)) as pool:
        return dict(zip(probes, pool.map(asked, probes), strict=True))


def as_table(answers: Reached) -> str:
    """One line a probe, one column a target."""
    targets = list(next(iter(answers.values())))
    margin = max(map(len, answers)) + 2
    lines = [" " * margin + "  ".join(targets)]
    for role, open_to in answers.items():
        cells = [(OPEN if open_to[target] else CLOSED).ljust(len(target)) for target in targets]
        lines.append((role.ljust(margin) + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def difference(table: str, expected: str) -> str:
    """The lines that differ, under the head of the table; + is what was found."""
    lines = list(ndiff(expected.splitlines(), table.splitlines()))
    return "\n".join([lines[0], *(line.rstrip("\n") for line in lines[1:] if line[0] in "+-")])

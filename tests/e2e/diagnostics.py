"""What happened in a namespace, for whoever reads about a failure afterwards; without the values of its Secrets."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.commands import CommandError
from tests.e2e.namespace import Namespace, is_ready, restarts
from tests.e2e.objects import Object, summary

KINDS = (
    "pods,jobs,cronjobs,deployments,statefulsets,services,endpointslices,ingresses,networkpolicies,"
    "persistentvolumeclaims,horizontalpodautoscalers,poddisruptionbudgets,configmaps"
)
RELEASES = "helm.sh/release.v1"
SHORTEST_SECRET = 6
"""A shorter value is no password, and may be a part of any word."""
EXTRACT_LINES = 12


def write(namespace: Namespace, folder: Path) -> str:
    """Write objects, events, descriptions and logs to `folder`; a short extract: warnings, who is not ready and why."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = secret_values(namespace.objects.all("Secret"))
    texts = dict(_texts(namespace))
    for name, text in texts.items():
        (folder / name).write_text(redacted(text, secrets))
    extract = [f"everything is in {folder}"]
    extract += [line for line in texts["events.txt"].splitlines() if " Warning " in line][-EXTRACT_LINES:]
    for pod in namespace.objects.all("Pod"):
        if not is_ready(pod) and pod["status"].get("phase") != "Succeeded":
            extract.append(summary(pod))
            for container in _containers(pod):
                log = texts.get(_log_name(pod, container), "").splitlines()[-EXTRACT_LINES:]
                extract += [f"  {container}: {line}" for line in log]
    return redacted("\n".join(extract), secrets)


def secret_values(secrets: Sequence[Object]) -> set[str]:
    """What must not be told: every value of these Secrets but user names, as it is and as the API server writes it."""
    values: set[str] = set()
    for secret in secrets:
        if secret.get("type") == RELEASES:  # a whole release in one value, whose Secrets are among the others
            continue
        for key, encoded in (secret.get("data") or {}).items():
            value = base64.b64decode(encoded).decode(errors="replace")
            if key != "username" and len(value) >= SHORTEST_SECRET:
                values |= {value, encoded}
    return values


def redacted(text: str, secrets: set[str]) -> str:
    """The text without them; longer ones first, as one may be a part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def _texts(namespace: Namespace) -> Iterator[tuple[str, str]]:
    """Each file's name and text."""
    yield "objects.txt", _said(namespace, "get", KINDS, "--output=wide")
    yield "events.txt", _said(namespace, "get", "events", "--sort-by=.lastTimestamp")
    yield "describe.txt", _said(namespace, "describe", KINDS)
    for pod in namespace.objects.all("Pod"):
        name = pod["metadata"]["name"]
        for container in _containers(pod):
            yield _log_name(pod, container), _said(namespace, "logs", name, "--container", container)
            if restarts(pod):
                previous = _said(namespace, "logs", name, "--container", container, "--previous")
                yield f"{name}.{container}.previous.log", previous


def _containers(pod: Object) -> list[str]:
    spec = pod["spec"]
    return [container["name"] for container in [*spec.get("initContainers", []), *spec["containers"]]]


def _log_name(pod: Object, container: str) -> str:
    return f"{pod['metadata']['name']}.{container}.log"


def _said(namespace: Namespace, *arguments: str) -> str:
    try:
        return namespace.kubectl(*arguments)
    except CommandError as error:  # a container that never started has no log, and that is worth knowing, too
        return f"{error}\n"

"""One namespace of a cluster, made as k8s/ says, and what a test does there: look, wait, run, read."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import yaml

from tests.e2e.cluster import REPOSITORY, Cluster
from tests.e2e.objects import Object, Objects

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"


class Namespace:
    """Components are named as in the label app.kubernetes.io/component."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    @cached_property
    def objects(self) -> Objects:
        """Everything in it."""
        return Objects(self.cluster.api, self.name)

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        """What kubectl prints, run in this namespace. Raises CommandError."""
        return self.cluster.run("kubectl", "--namespace", self.name, *arguments, stdin=stdin).decode()

    def of_component(self, kind: str, component: str) -> list[Object]:
        """The component's objects of a kind: pods, jobs, cronjobs, ..."""
        return self.objects.all(kind, component_selector(component))

    def wait_for_job(self, name: str, seconds: float = 120) -> Object:
        """The Job, once it is Complete or Failed, whatever came first."""

        def ended(seen: Mapping[str, Object]) -> Object | None:
            return next((job for job in seen.values() if outcome(job)), None)

        return self.objects.until("Job", ended, f"Job {name} to end", seconds=seconds, name=name)

    def create_job_from_cronjob(self, cronjob: str, name: str) -> str:
        """Start what the CronJob would start, as an operator does; the name of the Job."""
        self.kubectl("create", "job", f"--from=cronjob/{cronjob}", name)
        return name

    def create_job_like(self, cronjob: str, name: str, command: Sequence[str]) -> str:
        """Start what the CronJob would start, with another command in the pod; the name of the Job."""
        job = json.loads(
            self.kubectl("create", "job", f"--from=cronjob/{cronjob}", name, "--dry-run=client", "-o=json")
        )
        (container,) = job["spec"]["template"]["spec"]["containers"]
        container["command"] = list(command)
        self.objects.create(job)
        return name

    def job_pods(self, job: str) -> list[Object]:
        """Every pod of the Job that there was and still is."""
        return self.objects.all("Pod", f"{JOB_NAME_LABEL}={job}")

    def job_succeeds(self, name: str, seconds: float = 120) -> str:
        """Wait for the Job to complete; the termination message of the pod that did it. AssertionError if it fails."""
        job = self.wait_for_job(name, seconds)
        pods = self.job_pods(name)
        assert outcome(job) == "Complete", f"Job {name} failed: {[termination_message(pod) for pod in pods]}"
        (message,) = [termination_message(pod) for pod in pods if pod["status"]["phase"] == "Succeeded"]
        return message

    def exec(self, pod: str, *command: str, container: str = "", stdin: bytes | None = None) -> bytes:
        """What the command prints in a container of the pod (the first one by default). Raises CommandError."""
        where = ["--container", container] if container else []
        keyboard = ["--stdin"] if stdin is not None else []
        return self.cluster.run(
            "kubectl", "--namespace", self.name, "exec", *keyboard, pod, *where, "--", *command, stdin=stdin
        )

    def logs(self, pod: str, container: str = "") -> str:
        """What a container of the pod has logged (the first one by default)."""
        return self.kubectl("logs", pod, *(["--container", container] if container else []))


def component_selector(component: str) -> str:
    """The label selector of a component."""
    return f"app.kubernetes.io/component={component}"


def outcome(job: Object) -> str | None:
    """Complete or Failed, or None while the Job is under way."""
    conditions = job.get("status", {}).get("conditions") or []
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def termination_message(pod: Object) -> str:
    """What the pod's first container left as its last word; empty while it runs, or if it left none."""
    (status, *_) = pod["status"].get("containerStatuses") or [{}]
    message: str = status.get("state", {}).get("terminated", {}).get("message", "")
    return message.strip()


def is_ready(pod: Object) -> bool:
    """Whether the pod is Ready."""
    conditions = pod["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def restarts(pod: Object) -> int:
    """How often containers of the pod were started again."""
    statuses = [*(pod["status"].get("initContainerStatuses") or []), *(pod["status"].get("containerStatuses") or [])]
    return sum(status["restartCount"] for status in statuses)


@contextmanager
def fresh_namespace(cluster: Cluster, prefix: str) -> Iterator[Namespace]:
    """A namespace in which Pod Security `restricted` is enforced; its deletion is begun at the end, not awaited."""
    manifest: Object = yaml.safe_load(Path(REPOSITORY / "k8s" / "namespace.yaml").read_text())
    name = f"{prefix}-{secrets.token_hex(3)}"
    manifest["metadata"]["name"] = name
    cluster.run("kubectl", "create", "--filename", "-", stdin=yaml.safe_dump(manifest).encode())
    try:
        yield Namespace(cluster, name)
    finally:
        cluster.run("kubectl", "delete", "namespace", name, "--wait=false")

"""Follow a Job of a cluster to its end: the logs of its pods as they come, what holds it up, and how it ended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from jobs.errors import EXIT_DONE, EXIT_FAILED

Object = dict[str, Any]
"""An object of the cluster, as its JSON."""
Change = tuple[str, Object]
"""What changed (job, pod or warning), and what it is now."""

JOB_NAME = "batch.kubernetes.io/job-name"
SUMMARY = "materialize: "
"""How the line begins that the job prints at its end and leaves as its termination message."""
NO_LOG = (400, 404)
"""What reading the log of a container is answered with that has never run, or whose pod is gone."""


@dataclass(frozen=True)
class Ended:
    """How a Job ended: the exit code of its last pod, and the termination message that it left."""

    exit_code: int
    summary: str


def follow(namespace: str, job: str, show: Callable[[str], None]) -> Ended:
    """Show the log of each of the Job's pods, and the cluster's warnings about them, until the Job has ended.

    Raises what the Kubernetes client raises: ApiException, or urllib3's HTTPError.
    """
    logs = _Logs(namespace, show)
    for kind, changed in _changes(namespace, job):
        if kind == "pod":
            logs.show(changed)
        elif kind == "warning" and changed["involvedObject"]["name"].startswith(job):
            show(f"{changed['involvedObject']['name']}: {changed['reason']}: {changed['message']}")
        elif kind == "job" and (condition := _end(changed)):
            pods = _pods(namespace, job)
            for pod in pods:
                logs.show(pod)
            return _ended(job, condition, pods)
    return Ended(EXIT_FAILED, f"job {job} was deleted before it had ended")


class _Logs:
    """The logs of containers, each shown once, and to its end."""

    def __init__(self, namespace: str, show: Callable[[str], None]) -> None:
        self._namespace = namespace
        self._show = show
        self._shown: set[tuple[str, str]] = set()

    def show(self, pod: Object) -> None:
        status = pod.get("status", {})
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            log = (pod["metadata"]["name"], container["name"])
            if log not in self._shown and container["state"].keys() & {"running", "terminated"}:
                self._shown.add(log)
                self._stream(*log)

    def _stream(self, pod: str, container: str) -> None:
        log = client.CoreV1Api().read_namespaced_pod_log
        try:
            for line in Watch().stream(log, name=pod, namespace=self._namespace, container=container):
                if not line.startswith(SUMMARY):
                    self._show(line)
        except ApiException as error:
            if error.status not in NO_LOG:
                raise


def _changes(namespace: str, job: str) -> Iterator[Change]:
    """What becomes of the Job and its pods, from the beginning until it is deleted, and the namespace's warnings."""
    inbox: SimpleQueue[Change | Exception | None] = SimpleQueue()
    core, batch = client.CoreV1Api(), client.BatchV1Api()
    for kind, listing, selector in (
        ("job", batch.list_namespaced_job, {"field_selector": f"metadata.name={job}"}),
        ("pod", core.list_namespaced_pod, {"label_selector": f"{JOB_NAME}={job}"}),
        ("warning", core.list_namespaced_event, {"field_selector": "type=Warning"}),
    ):
        events = Watch().stream(listing, namespace=namespace, **selector)
        Thread(target=_pass_on, args=(kind, events, inbox), daemon=True).start()
    while (change := inbox.get()) is not None:
        if isinstance(change, Exception):
            raise change
        yield change


def _pass_on(kind: str, events: Iterator[Object], inbox: "SimpleQueue[Change | Exception | None]") -> None:
    try:
        for event in events:
            deleted = kind == "job" and event["type"] == "DELETED"
            inbox.put(None if deleted else (kind, event["raw_object"]))
    except (ApiException, HTTPError) as error:
        inbox.put(error)


def _end(job: Object) -> Object | None:
    """The condition that says how the Job ended; None while it goes on."""
    conditions = job.get("status", {}).get("conditions", ())
    return next((it for it in conditions if it["type"] in ("Complete", "Failed") and it["status"] == "True"), None)


def _pods(namespace: str, job: str) -> list[Object]:
    """The pods that the Job has had and that are still there, oldest first."""
    found = client.CoreV1Api().list_namespaced_pod(namespace, label_selector=f"{JOB_NAME}={job}")
    pods: list[Object] = client.ApiClient().sanitize_for_serialization(found.items)
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def _ended(job: str, condition: Object, pods: list[Object]) -> Ended:
    statuses = [status for pod in pods for status in pod["status"].get("containerStatuses", ())]
    last = statuses[-1]["state"].get("terminated") if statuses else None
    if condition["type"] == "Failed" and (last is None or condition["reason"] == "DeadlineExceeded"):
        return Ended(EXIT_FAILED, f"job {job} failed: {condition['reason']}: {condition['message']}")
    if last is None:
        return Ended(EXIT_DONE, f"job {job} is complete; its pod is gone, and its summary with it")
    return Ended(last["exitCode"], last.get("message") or f"job {job} left no summary: {last.get('reason')}")

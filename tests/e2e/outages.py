"""Ways in which a pod comes to its end, and the moment at which its component is whole again."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.e2e import in_pods
from tests.e2e.commands import WaitError, run
from tests.e2e.in_pods.watch import WATCHING
from tests.e2e.namespace import JOB_NAME_LABEL, Namespace, component_selector, is_ready, restarts
from tests.e2e.objects import Object

BACK_SECONDS = 120.0
START_SECONDS = 120.0


def crash(namespace: Namespace, pod: Object) -> None:
    """Kill the pod's process at once, as the kernel does when memory runs out; the same pod starts it again.

    From its node: nobody inside a container can kill the container's first process.
    """
    kill = ("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL")
    run("docker", "exec", pod["spec"]["nodeName"], *kill, _container(pod)["containerID"].rpartition("/")[2])


def _container(pod: Object) -> Object:
    """The status of the pod's only container."""
    (status,) = pod["status"]["containerStatuses"]
    return dict(status)


def remove(namespace: Namespace, pod: Object) -> None:
    """Delete the pod without any grace; another one comes in its place."""
    namespace.objects.delete("Pod", pod["metadata"]["name"], grace_seconds=0)


def retire(namespace: Namespace, pod: Object) -> None:
    """Delete the pod as `kubectl delete pod` does, with all the time that it asks for."""
    namespace.objects.delete("Pod", pod["metadata"]["name"])


def wait_until_whole(namespace: Namespace, component: str, lost: Object, pods: int) -> None:
    """Wait until that many pods of the component are ready, not counting the life that was lost."""

    def is_whole(seen: Mapping[str, Object]) -> bool:
        return sum(is_ready(pod) and _life(pod) != _life(lost) for pod in seen.values()) >= pods

    what, selector = f"{pods} pods of {component}, one of them new", component_selector(component)
    namespace.objects.until("Pod", is_whole, what, seconds=BACK_SECONDS, selector=selector)


def _life(pod: Object) -> tuple[str, int]:
    """A container that is started again is another one in the same pod."""
    return pod["metadata"]["uid"], restarts(pod)


def wait_until_gone(namespace: Namespace, pod: Object) -> None:
    """Wait until the pod is no more, or has ended if it is a Job's."""
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]

    def is_gone(seen: Mapping[str, Object]) -> bool:
        same = [other for other in seen.values() if other["metadata"]["uid"] == uid]
        return all(other["status"].get("phase") in ("Failed", "Succeeded") for other in same)

    namespace.objects.until("Pod", is_gone, f"the end of {name}", seconds=BACK_SECONDS, name=name)


def running_pod(namespace: Namespace, job: str) -> Object:
    """The first pod of the Job, once its own container runs."""

    def running(seen: Mapping[str, Object]) -> Object | None:
        return next((pod for pod in seen.values() if _runs(pod)), None)

    selector = f"{JOB_NAME_LABEL}={job}"
    return namespace.objects.until("Pod", running, f"a pod of {job} to run", seconds=START_SECONDS, selector=selector)


def _runs(pod: Object) -> bool:
    return any(status["state"].get("running") for status in pod["status"].get("containerStatuses") or [])


def wait_for_log(namespace: Namespace, pod: Object, text: str) -> None:
    """Return when the pod logs a line with the text. WaitError if its log ends before."""
    name, lines = pod["metadata"]["name"], []
    command = ["kubectl", "--namespace", namespace.name, "logs", "--follow", name]
    with subprocess.Popen(command, env=namespace.cluster.environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        for line in following.stdout:
            lines.append(line)
            if text in line:
                following.kill()
                return
    raise WaitError(f"the log of {name} ended without {text!r}: {''.join(lines[-5:])}")


class Watch:
    """A watch that has ended: `returned` is when the server was there again (time.time()), None if it never left."""

    returned: float | None


@contextmanager
def watching(namespace: Namespace, address: str, pod: str) -> Iterator[Watch]:
    """Watch a server (HOST:PORT) from a pod: its clients depend also on who tells them that it is back."""
    command = ["kubectl", "--namespace", namespace.name, "exec", "--stdin", pod, "--", *in_pods.command("watch")]
    child = subprocess.Popen(
        command, env=namespace.cluster.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    watch = Watch()
    try:
        child.stdin.write(json.dumps(address) + "\n")
        child.stdin.flush()
        if child.stdout.readline().strip() != WATCHING:
            raise WaitError(f"{pod} does not reach {address}; the watch ended with {child.wait()}")
        yield watch
    finally:
        said, _ = child.communicate()
    watch.returned = json.loads(said)

"""A pod of the platform's image that does nothing by itself: a place in the cluster to run programs and see volumes."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.namespace import Namespace, is_ready
from tests.e2e.objects import Object

UID = 10001  # the image's user, so that it reads and writes what the jobs do
READY_SECONDS = 60
UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1], filter='data')"


class Toolbox:
    """Runs programs in the pod."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self._namespace, self.name = namespace, name

    def run(self, *command: str, stdin: bytes | None = None) -> bytes:
        """What the program prints. Raises CommandError."""
        return self._namespace.exec(self.name, *command, stdin=stdin)

    def put(self, folder: Path, place: str) -> None:
        """Copy a folder of this machine into a folder of the pod."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(folder, folder.name)
        self.run("python", "-c", UNPACK, place, stdin=archive.getvalue())


@contextmanager
def toolbox(
    namespace: Namespace,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    volumes: Mapping[str, str] | None = None,
) -> Iterator[Toolbox]:
    """A toolbox with these labels, which network policies may go by; `volumes`: claim to the path it is mounted at."""
    namespace.objects.create(manifest(name, namespace.cluster.image, labels or {}, volumes or {}))
    try:
        namespace.objects.until(
            "Pod", lambda seen: any(map(is_ready, seen.values())), f"pod {name} ready", seconds=READY_SECONDS, name=name
        )
        yield Toolbox(namespace, name)
    finally:
        namespace.objects.delete("Pod", name, grace_seconds=0)


def manifest(name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> Object:
    """The pod of a toolbox."""
    claims = [
        {"name": f"claim-{place}", "persistentVolumeClaim": {"claimName": claim}} for place, claim in enumerate(volumes)
    ]
    mounts = [{"name": f"claim-{place}", "mountPath": path} for place, path in enumerate(volumes.values())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "toolbox",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "1Gi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *claims],
        },
    }  # fmt: skip


def claim(name: str) -> Object:
    """A small volume, to be mounted in a toolbox and elsewhere."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Mi"}}},
    }

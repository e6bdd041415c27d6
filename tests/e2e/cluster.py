"""A kind cluster with the platform's image in it: made and removed by the Makefile's verbs, or one that is there."""

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml
from kubernetes import config, dynamic

from tests.e2e.commands import CommandError, run

REPOSITORY = Path(__file__).parents[2]
OUTPUT = REPOSITORY / "build" / "e2e"
INGRESS_NODE_PORT = 30080
TAIL_LETTERS = 3000


class Cluster:
    """A running kind cluster, reached by a kubeconfig of its own: nobody's current context is read or changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.image = os.environ.get("IMAGE") or f"feature-platform:{platform_version()}"
        self.kubeconfig = OUTPUT / f"{name}.kubeconfig"
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_bytes(run("kind", "get", "kubeconfig", "--name", name))
        self.environment: Mapping[str, str] = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *command: str | Path, stdin: bytes | None = None) -> bytes:
        """Run a program that finds this cluster (helm, kubectl); what it wrote to stdout. Raises CommandError."""
        return run(*command, environment=self.environment, stdin=stdin)

    @cached_property
    def api(self) -> Any:
        """A client of the API server that speaks of every kind, in plain dicts."""
        # The package has no types here.
        connect: Any = config.new_client_from_config
        client: Any = dynamic.DynamicClient
        return client(connect(str(self.kubeconfig)), cache_file=str(OUTPUT / f"{self.name}.discovery.json"))

    @cached_property
    def ingress_url(self) -> str:
        """Where the ingress controller listens on this machine's loopback."""
        ports = json.loads(run("docker", "inspect", "-f", "{{json .NetworkSettings.Ports}}", self.control_plane))
        (binding,) = ports[f"{INGRESS_NODE_PORT}/tcp"]
        return f"http://{binding['HostIp']}:{binding['HostPort']}"

    @property
    def control_plane(self) -> str:
        """The name of the node, and container, that runs the API server and listens for the ingress."""
        return f"{self.name}-control-plane"

    def through_ingress(self, host: str) -> httpx.Client:
        """An HTTP client whose requests reach what the cluster serves as `host`."""
        return httpx.Client(base_url=self.ingress_url, headers={"Host": host}, timeout=10.0)


@contextmanager
def fresh_cluster(name: str, workers: int = 0) -> Iterator[Cluster]:
    """A new cluster of one control plane and some workers, which goes in every case, also if it was never complete.

    One of this name that an earlier run could not remove (kill -9) goes first.
    """
    OUTPUT.mkdir(parents=True, exist_ok=True)
    kind_config = OUTPUT / f"{name}.kind.yaml"
    kind_config.write_text(yaml.safe_dump(_kind_config(workers)))
    try:
        _make("kind-down", name, kind_config)
        _make("kind-up", name, kind_config)
        yield Cluster(name)
    finally:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C of an impatient hand
        _make("kind-down", name, kind_config)
        signal.signal(signal.SIGINT, previous)


def _kind_config(workers: int) -> dict[str, Any]:
    """The configuration of k8s/, on a host port that is free, with more nodes."""
    document: dict[str, Any] = yaml.safe_load((REPOSITORY / "k8s" / "kind.yaml").read_text())
    for mapping in document["nodes"][0]["extraPortMappings"]:
        mapping["hostPort"] = 0  # kind finds one
    document["nodes"] += [{"role": "worker"} for _ in range(workers)]
    return document


def _make(verb: str, name: str, kind_config: Path) -> None:
    # A make around this one must not talk to it.
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment["KUBECONFIG"] = str(OUTPUT / f"{name}.kubeconfig")
    log = OUTPUT / f"{name}.{verb}.log"
    command = ["make", verb, f"CLUSTER={name}", f"KIND_CONFIG={kind_config}"]
    with log.open("wb") as output:
        # A group of its own, which can be ended as a whole.
        child = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = child.wait()
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
    if code != 0:
        raise CommandError(f"`{' '.join(command)}` ended with {code}:\n{log.read_text()[-TAIL_LETTERS:]}")


def platform_version() -> str:
    """The version in pyproject.toml, which is the image's tag."""
    version: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    return version

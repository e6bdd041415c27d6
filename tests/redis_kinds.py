"""Redis servers with arguments of their own: to replicate, to watch as Sentinels, to form a cluster."""

import subprocess
from pathlib import Path
from typing import Any, Protocol

import redis

from jobs.local.servers import find_redis
from jobs.process import LOOPBACK, free_port, start_child, stop_child
from tests.process_support import wait_for

HIGHEST_PORT = 65535
BUS_OFFSET = 10_000
SLOTS = 16_384


class RedisChild:
    """A Redis server started with `arguments` and a configuration file of these lines; `password`: its requirepass."""

    def __init__(self, folder: Path, *arguments: str, configuration: str = "", password: str = "") -> None:
        self.port = _port()
        folder.mkdir()
        (folder / "redis.conf").write_text(configuration)
        options = ["--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--dir", str(folder), *arguments]
        options += ["--requirepass", password] if password else []
        self.process: subprocess.Popen[bytes] = start_child(
            [find_redis().path, str(folder / "redis.conf"), *options], log=folder / "log"
        )
        self.client: Any = redis.Redis(host=LOOPBACK, port=self.port, password=password or None)
        wait_for(self._answers, "Redis answers")

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        stop_child(self.process)

    def is_whole(self) -> bool:
        """Whether this node of a cluster sees every slot served."""
        return b"cluster_state:ok" in self.client.execute_command("CLUSTER", "INFO")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class StartRedis(Protocol):
    """Starts a Redis that ends with the test."""

    def __call__(self, *arguments: str, configuration: str = "", password: str = "") -> RedisChild: ...


def form_cluster(start: StartRedis, count: int, *arguments: str) -> list[RedisChild]:
    """A whole cluster of `count` masters."""
    nodes = [start("--cluster-enabled", "yes", *arguments) for _ in range(count)]
    for number, node in enumerate(nodes):
        slots = range(number * SLOTS // count, (number + 1) * SLOTS // count)
        node.client.execute_command("CLUSTER", "ADDSLOTS", *slots)
    for node in nodes[1:]:
        nodes[0].client.execute_command("CLUSTER", "MEET", LOOPBACK, node.port)
    wait_for(lambda: all(node.is_whole() for node in nodes), "the cluster is whole")
    return nodes


def _port() -> int:
    """A free port that leaves room for the cluster's bus, which Redis opens this far above it."""
    return next(port for port in iter(free_port, None) if port + BUS_OFFSET <= HIGHEST_PORT)

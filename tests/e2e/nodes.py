"""The nodes of a cluster: which of them can go, and how they go and come back."""

import json
from typing import Any

from tests.e2e.cluster import INGRESS_NODE_PORT, Cluster
from tests.e2e.commands import run
from tests.e2e.objects import Object

HOSTNAME = "kubernetes.io/hostname"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
DRAIN_TIMEOUT = "3m"


def workers(cluster: Cluster) -> list[str]:
    """The nodes that run no control plane, by name."""
    nodes = _items(cluster, "nodes")
    return sorted(node["metadata"]["name"] for node in nodes if CONTROL_PLANE not in node["metadata"]["labels"])


def with_ingress(cluster: Cluster) -> set[str]:
    """The nodes that run pods of the ingress controller: of the Service that has its NodePort."""
    (service,) = [item for item in _items(cluster, "services") if _has_ingress_port(item)]
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    selector = f"--selector=kubernetes.io/service-name={name}"
    slices = _items(cluster, "endpointslices", f"--namespace={namespace}", selector)
    return {endpoint["nodeName"] for item in slices for endpoint in item["endpoints"] or []}


def drain(cluster: Cluster, node: str) -> None:
    """Take the node out of service as before its maintenance: nothing new comes, what runs there moves."""
    options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={DRAIN_TIMEOUT}"]
    cluster.run("kubectl", "drain", node, *options)


def uncordon(cluster: Cluster, node: str) -> None:
    """Put the node into service again."""
    cluster.run("kubectl", "uncordon", node)


def restart(node: str) -> None:
    """Cut the node's power and switch it on again: nobody has told Kubernetes."""
    run("docker", "restart", "--time=0", node)


def _has_ingress_port(service: Object) -> bool:
    return any(port.get("nodePort") == INGRESS_NODE_PORT for port in service["spec"]["ports"])


def _items(cluster: Cluster, kind: str, *options: str) -> list[Object]:
    where = options or ("--all-namespaces",)
    listed: dict[str, Any] = json.loads(cluster.run("kubectl", "get", kind, *where, "--output=json"))
    items: list[Object] = listed["items"]
    return items

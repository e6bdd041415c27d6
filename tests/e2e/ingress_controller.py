"""The cluster's ingress controller, which is not ours, and through which every request of the tests goes."""

import json

from tests.e2e.cluster import INGRESS_NODE_PORT, Cluster
from tests.e2e.objects import Object

CPU = "100m"


def reserve_cpu(cluster: Cluster) -> None:
    """Give the controller's Deployments a share of the CPUs, if they have none.

    Without one a pod runs when nobody else wants to: for seconds not at all while a few pods start on a small node.
    """
    for service in _all(cluster, "services"):
        if any(port.get("nodePort") == INGRESS_NODE_PORT for port in service["spec"]["ports"]):
            namespace, selector = service["metadata"]["namespace"], service["spec"]["selector"]
            for deployment in _all(cluster, "deployments", "--namespace", namespace):
                if selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items():
                    _reserve(cluster, namespace, deployment)


def _reserve(cluster: Cluster, namespace: str, deployment: Object) -> None:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    if any("cpu" in container["resources"].get("requests", {}) for container in containers):
        return
    kubectl, name = ("kubectl", "--namespace", namespace), f"deployment/{deployment['metadata']['name']}"
    cluster.run(*kubectl, "set", "resources", name, f"--requests=cpu={CPU}")
    cluster.run(*kubectl, "rollout", "status", name)


def _all(cluster: Cluster, kind: str, *where: str) -> list[Object]:
    said = cluster.run("kubectl", "get", kind, *(where or ("--all-namespaces",)), "--output=json")
    items: list[Object] = json.loads(said)["items"]
    return items

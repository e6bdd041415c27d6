"""What one object says of another must be so: selectors, ports, claims, Secrets, targets."""

from collections.abc import Iterator
from typing import Any

from tests.chart.manifests import Manifest, Pod, name_of, pods

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet"}
# Who names this label means pods of the release; others need not be there.
OWN = "app.kubernetes.io/instance"


class Release:
    """All objects of a rendering, looked up by what others say of them."""

    def __init__(self, objects: list[Manifest]) -> None:
        self.objects = objects
        self.pods = pods(objects)

    def of_kind(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.objects if manifest["kind"] in kinds]

    def find(self, kind: str, name: str) -> Manifest | None:
        return next((one for one in self.of_kind(kind) if one["metadata"]["name"] == name), None)

    def selected(self, labels: dict[str, str]) -> list[Pod]:
        return [pod for pod in self.pods if labels.items() <= pod.labels.items()]


def reference_faults(objects: list[Manifest], outside: frozenset[str] = frozenset()) -> list[str]:
    """References that lead nowhere. `outside`: names of Secrets and claims that somebody else makes."""
    release = Release(objects)
    checks = (_twice, _workloads, _services, _backends, _disruption_budgets, _autoscalers, _policies, _mounts)
    return [fault for check in checks for fault in check(release)] + list(_volumes(release, outside))


def _twice(release: Release) -> Iterator[str]:
    names = [name_of(manifest) for manifest in release.objects]
    yield from (f"{name} is rendered twice" for name in sorted({name for name in names if names.count(name) > 1}))


def _workloads(release: Release) -> Iterator[str]:
    for workload in release.of_kind(*WORKLOADS):
        labels = workload["spec"]["selector"]["matchLabels"]
        owners = {pod.name for pod in release.selected(labels)}
        if owners != {name_of(workload)}:
            yield f"{name_of(workload)} selects the pods of {sorted(owners)}"
        service = workload["spec"].get("serviceName")
        if service and release.find("Service", service) is None:
            yield f"{name_of(workload)}: there is no Service {service}"


def _services(release: Release) -> Iterator[str]:
    for service in release.of_kind("Service"):
        selected = release.selected(service["spec"]["selector"])
        if len(selected) != 1 or selected[0].owner["kind"] not in WORKLOADS:
            yield f"{name_of(service)} selects the pods of {[pod.name for pod in selected]}"
        for port in service["spec"]["ports"]:
            for pod in selected:
                if port.get("targetPort") not in pod.ports:
                    yield f"{name_of(service)}: {pod.name} has no port named {port.get('targetPort')!r}"


def _backends(release: Release) -> Iterator[str]:
    for route in release.of_kind("HTTPRoute"):
        for backend in (ref for rule in route["spec"]["rules"] for ref in rule["backendRefs"]):
            yield from _backend(release, route, backend["name"], {"number": backend["port"]})
    for ingress in release.of_kind("Ingress"):
        for path in (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]):
            service = path["backend"]["service"]
            yield from _backend(release, ingress, service["name"], service["port"])


def _backend(release: Release, owner: Manifest, name: str, port: dict[str, Any]) -> Iterator[str]:
    service = release.find("Service", name)
    ports = service["spec"]["ports"] if service else []
    if not any(port.get("name") == one.get("name") or port.get("number") == one["port"] for one in ports):
        yield f"{name_of(owner)}: there is no Service {name} with port {port}"


def _disruption_budgets(release: Release) -> Iterator[str]:
    for budget in release.of_kind("PodDisruptionBudget"):
        if len(release.selected(budget["spec"]["selector"]["matchLabels"])) != 1:
            yield f"{name_of(budget)} does not select the pods of one workload"


def _autoscalers(release: Release) -> Iterator[str]:
    scaled = set()
    for autoscaler in release.of_kind("HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        found = release.find(target["kind"], target["name"])
        scaled.add(f"{target['kind']} {target['name']}")
        if found is None or found["apiVersion"] != target["apiVersion"]:
            yield f"{name_of(autoscaler)}: its target does not exist"
        elif "replicas" in found["spec"]:
            yield f"{name_of(found)} sets replicas, and {name_of(autoscaler)} too"
    for workload in release.of_kind("Deployment", "StatefulSet"):
        if "replicas" not in workload["spec"] and name_of(workload) not in scaled:
            yield f"{name_of(workload)} sets no replicas, and nothing else does"


def _policies(release: Release) -> Iterator[str]:
    for policy in release.of_kind("NetworkPolicy"):
        spec = policy["spec"]
        own = _matching(release, spec["podSelector"])
        if not own:
            yield f"{name_of(policy)} selects no pods"
        for rule in spec.get("ingress", []):
            yield from _rule(release, policy, rule.get("from", []), own, rule)
        for rule in spec.get("egress", []):
            reached = [pod for peer in rule.get("to", []) for pod in _reached(release, peer)]
            yield from _rule(release, policy, rule.get("to", []), reached, rule)


def _rule(
    release: Release, policy: Manifest, peers: list[Manifest], receivers: list[Pod], rule: Manifest
) -> Iterator[str]:
    """The peers of our own must exist, and a receiver of ours must listen on the ports."""
    for peer in peers:
        if OWN in peer.get("podSelector", {}).get("matchLabels", {}) and not _reached(release, peer):
            yield f"{name_of(policy)}: no pod is {peer}"
    for port in rule.get("ports", []):
        listening = {number for pod in receivers for entry in pod.ports.items() for number in entry}
        if receivers and port.get("port") not in listening:
            yield f"{name_of(policy)}: nobody listens on {port.get('port')}"


def _reached(release: Release, peer: Manifest) -> list[Pod]:
    return _matching(release, peer["podSelector"]) if set(peer) == {"podSelector"} else []


def _matching(release: Release, selector: Manifest) -> list[Pod]:
    found = release.selected(selector.get("matchLabels", {}))
    for expression in selector.get("matchExpressions", []):
        inside = expression["operator"] == "In"
        found = [p for p in found if (p.labels.get(expression["key"]) in expression["values"]) is inside]
    return found


def _mounts(release: Release) -> Iterator[str]:
    for pod in release.pods:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        templates = pod.owner["spec"].get("volumeClaimTemplates", []) if pod.owner["kind"] == "StatefulSet" else []
        volumes |= {template["metadata"]["name"] for template in templates}
        mounted = {mount["name"] for one in pod.containers for mount in one.get("volumeMounts", [])}
        yield from (f"{pod.name} mounts {name}, which is no volume" for name in sorted(mounted - volumes))
        yield from (f"{pod.name} mounts volume {name} nowhere" for name in sorted(volumes - mounted))


def _volumes(release: Release, outside: frozenset[str]) -> Iterator[str]:
    for pod in release.pods:
        for kind, name in _sources(pod):
            if release.find(kind, name) is None and name not in outside:
                yield f"{pod.name}: there is no {kind} {name}"


def _sources(pod: Pod) -> Iterator[tuple[str, str]]:
    for volume in pod.spec.get("volumes", []):
        for source in (volume, *((volume.get("projected") or {}).get("sources") or [])):
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]
            if "persistentVolumeClaim" in source:
                yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]

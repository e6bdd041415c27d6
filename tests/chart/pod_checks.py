"""What every pod must promise: Pod Security's profile `restricted`, and what we ask beyond it."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.chart.manifests import Manifest, Pod, leaves, pods

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def restricted_faults(objects: list[Manifest]) -> list[str]:
    """What Pod Security admission at `restricted` would refuse."""
    return _faults(objects, [_host, _volumes, _identity, _seccomp, _kernel], [_privileges, _capabilities, _handlers])


def pod_faults(objects: list[Manifest]) -> list[str]:
    """What we ask of every pod beyond `restricted`."""
    return _faults(objects, [_tokens, _service_links], [_read_only_root, _resources, _repeated_names])


def _faults(
    objects: list[Manifest],
    pod_checks: list[Callable[[Pod], Iterator[str]]],
    container_checks: list[Callable[[Pod, Manifest], Iterator[str]]],
) -> list[str]:
    found: list[str] = []
    for pod in pods(objects):
        found += [f"{pod.name}: {fault}" for check in pod_checks for fault in check(pod)]
        for one in pod.containers:
            said = [fault for check in container_checks for fault in check(pod, one)]
            found += [f"{pod.name}: container {one['name']}: {fault}" for fault in said]
    return found


def _context(holder: Manifest) -> Manifest:
    found: Manifest = holder.get("securityContext") or {}
    return found


def _effective(pod: Pod, container: Manifest, key: str) -> Any:
    """What holds for a container: its own word, else its pod's."""
    return _context(container).get(key, _context(pod.spec).get(key))


def _host(pod: Pod) -> Iterator[str]:
    yield from (f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key))
    for one in pod.containers:
        yield from (f"container {one['name']} takes hostPort {port['hostPort']}" for port in one.get("ports", [])
                    if port.get("hostPort"))  # fmt: skip


def _volumes(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds or kinds - VOLUME_TYPES:
            yield f"volume {volume['name']} is of type {', '.join(kinds) or 'none'}"


def _identity(pod: Pod) -> Iterator[str]:
    for one in pod.containers:
        if _effective(pod, one, "runAsNonRoot") is not True:
            yield f"container {one['name']} lacks runAsNonRoot"
        # An image may name root, or a user by name, which the kubelet cannot tell from root.
        if not _effective(pod, one, "runAsUser"):
            yield f"container {one['name']} runs as no named uid, or as root"


def _seccomp(pod: Pod) -> Iterator[str]:
    for one in pod.containers:
        if (_effective(pod, one, "seccompProfile") or {}).get("type") != "RuntimeDefault":
            yield f"container {one['name']} has not seccompProfile RuntimeDefault"


def _kernel(pod: Pod) -> Iterator[str]:
    for sysctl in _context(pod.spec).get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']} is set"
    for holder in (pod.spec, *pod.containers):
        context = _context(holder)
        if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") == "Unconfined":
            yield "AppArmor is off"
        options = context.get("seLinuxOptions") or {}
        if options.get("user") or options.get("role") or options.get("type", "") not in SELINUX_TYPES:
            yield f"seLinuxOptions are {options}"
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield "hostProcess is set"


def _privileges(pod: Pod, container: Manifest) -> Iterator[str]:
    context = _context(container)
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("privileged"):
        yield "it is privileged"
    if context.get("procMount", "Default") != "Default":
        yield f"procMount is {context['procMount']}"


def _capabilities(pod: Pod, container: Manifest) -> Iterator[str]:
    capabilities = _context(container).get("capabilities") or {}
    if "ALL" not in capabilities.get("drop", []):
        yield "it does not drop ALL capabilities"
    if added := set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"it adds {', '.join(sorted(added))}"


def _handlers(pod: Pod, container: Manifest) -> Iterator[str]:
    """A probe or a hook that names a host lets the kubelet ask strangers."""
    for path, _ in leaves(container):
        if path.endswith(("httpGet.host", "tcpSocket.host")):
            yield f"{path} is set"


def _tokens(pod: Pod) -> Iterator[str]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"


def _service_links(pod: Pod) -> Iterator[str]:
    if pod.spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false"


def _read_only_root(pod: Pod, container: Manifest) -> Iterator[str]:
    if _context(container).get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"


def _resources(pod: Pod, container: Manifest) -> Iterator[str]:
    resources = container.get("resources") or {}
    for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")):
        if name not in (resources.get(kind) or {}):
            yield f"resources.{kind}.{name} is not set"


def _repeated_names(pod: Pod, container: Manifest) -> Iterator[str]:
    for key, name in (("env", "name"), ("ports", "name"), ("volumeMounts", "mountPath")):
        names = [entry[name] for entry in container.get(key, [])]
        yield from (f"{key} names {repeated} twice" for repeated in sorted({n for n in names if names.count(n) > 1}))

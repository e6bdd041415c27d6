"""The checks of rendered objects find what they are there to find."""

from functools import partial

import pytest

from tests.chart.branches import branch
from tests.chart.breaking import FULL, GONE, Check, broken, broken_pod, find, put
from tests.chart.each_value import Effect
from tests.chart.kubernetes_schemas import null_faults, schema_faults
from tests.chart.manifests import name_of
from tests.chart.name_checks import name_faults
from tests.chart.pod_checks import pod_faults, restricted_faults
from tests.chart.reference_checks import reference_faults
from tests.chart.update_checks import rerun_faults, update_faults

newest = partial(schema_faults, version="1.37")


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("hostNetwork", True, "hostNetwork is set"),
        ("hostPID", True, "hostPID is set"),
        ("hostIPC", True, "hostIPC is set"),
        ("containers.0.ports.0.hostPort", 80, "takes hostPort 80"),
        ("volumes.0", {"name": "tmp", "hostPath": {"path": "/tmp"}}, "volume tmp is of type hostPath"),
        ("securityContext.runAsNonRoot", GONE, "lacks runAsNonRoot"),
        ("containers.0.securityContext.runAsNonRoot", False, "lacks runAsNonRoot"),
        ("containers.0.securityContext.runAsUser", 0, "runs as no named uid, or as root"),
        ("securityContext.runAsUser", GONE, "runs as no named uid, or as root"),
        ("securityContext.seccompProfile", GONE, "has not seccompProfile RuntimeDefault"),
        ("containers.0.securityContext.seccompProfile", {"type": "Unconfined"}, "has not seccompProfile"),
        ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax is set"),
        ("containers.0.securityContext.appArmorProfile", {"type": "Unconfined"}, "AppArmor is off"),
        ("securityContext.seLinuxOptions", {"type": "spc_t"}, "seLinuxOptions are"),
        ("securityContext.windowsOptions", {"hostProcess": True}, "hostProcess is set"),
        ("containers.0.securityContext.allowPrivilegeEscalation", GONE, "allowPrivilegeEscalation is not false"),
        ("containers.0.securityContext.privileged", True, "it is privileged"),
        ("containers.0.securityContext.procMount", "Unmasked", "procMount is Unmasked"),
        ("containers.0.securityContext.capabilities.drop", ["NET_RAW"], "it does not drop ALL"),
        ("containers.0.securityContext.capabilities.add", ["SYS_TIME"], "it adds SYS_TIME"),
        ("containers.0.livenessProbe.httpGet.host", "192.0.2.1", "livenessProbe.httpGet.host is set"),
        ("initContainers", [{"name": "bare"}], "container bare: it does not drop ALL"),
    ],
)
def test_what_restricted_refuses_is_found(path: str, value: object, found: str) -> None:
    faults = restricted_faults(broken_pod(path, value))
    assert any(found in fault for fault in faults)
    assert all(fault.startswith(f"Deployment {FULL}-gateway: ") for fault in faults)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("automountServiceAccountToken", GONE, "automountServiceAccountToken is not false"),
        ("enableServiceLinks", GONE, "enableServiceLinks is not false"),
        ("containers.0.securityContext.readOnlyRootFilesystem", GONE, "readOnlyRootFilesystem is not true"),
        ("containers.0.resources", GONE, "resources.requests.cpu is not set"),
        ("containers.0.resources.limits.memory", GONE, "resources.limits.memory is not set"),
        ("containers.0.env.0.name", "FEATURE_PLATFORM_PROJECT", "env names FEATURE_PLATFORM_PROJECT twice"),
        ("containers.0.volumeMounts.0.mountPath", "/run/secrets/feature-platform", "volumeMounts names"),
    ],
)
def test_what_we_ask_beyond_restricted_is_found(path: str, value: object, found: str) -> None:
    assert any(found in fault for fault in pod_faults(broken_pod(path, value)))


POLICY = "NetworkPolicy feature-server"


@pytest.mark.parametrize(
    ("name", "path", "value", "found"),
    [
        ("Service redis", "metadata.name", f"{FULL}-postgres", "is rendered twice"),
        ("Deployment gateway", "spec.selector.matchLabels", {"app.kubernetes.io/instance": "streamflow"}, "selects"),
        ("Deployment gateway", "spec.selector.matchLabels", {"app": "other"}, "selects the pods of []"),
        ("StatefulSet redis", "spec.serviceName", "elsewhere", "there is no Service elsewhere"),
        ("Service gateway", "spec.selector", {"app": "other"}, "selects the pods of []"),
        ("Service gateway", "spec.ports.0.targetPort", "https", "has no port named 'https'"),
        ("PodDisruptionBudget gateway", "spec.selector.matchLabels", {"app": "other"}, "does not select"),
        ("NetworkPolicy gateway", "spec.podSelector.matchLabels", {"app": "other"}, "selects no pods"),
        ("NetworkPolicy gateway", "spec.ingress.0.ports.0.port", "https", "nobody listens on https"),
        ("NetworkPolicy gateway", "spec.egress.0.ports.0.port", 6567, "nobody listens on 6567"),
        (POLICY, "spec.ingress.0.from.0.podSelector.matchExpressions.0.values", ["gatway"], "no pod is"),
        ("Deployment gateway", "spec.replicas", GONE, "sets no replicas, and nothing else does"),
        ("Deployment gateway", "spec.template.spec.volumes.0.name", "temp", "mounts tmp, which is no volume"),
        ("Deployment gateway", "spec.template.spec.volumes.0.name", "temp", "mounts volume temp nowhere"),
        ("Secret redis-gateway", "metadata.name", "other", f"there is no Secret {FULL}-redis-gateway"),
        ("ConfigMap redis", "metadata.name", "other", f"there is no ConfigMap {FULL}-redis"),
        ("PersistentVolumeClaim training-sets", "metadata.name", "other", "there is no PersistentVolumeClaim"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(name: str, path: str, value: object, found: str) -> None:
    assert any(found in fault for fault in reference_faults(broken(name, path, value)))


@pytest.mark.parametrize(
    ("of", "name", "path", "value", "found"),
    [
        ("autoscaling", "HorizontalPodAutoscaler gateway", "spec.scaleTargetRef.name", "other", "target does not"),
        ("autoscaling", "Deployment gateway", "spec.replicas", 2, "sets replicas, and Horizontal"),
        ("ingress-tls", "Ingress gateway", "spec.rules.0.http.paths.0.backend.service.name", "other", "no Service"),
        ("http-route", "HTTPRoute gateway", "spec.rules.0.backendRefs.0.port", 81, "with port {'number': 81}"),
    ],
)
def test_a_target_that_does_not_exist_is_found(of: str, name: str, path: str, value: object, found: str) -> None:
    assert any(found in fault for fault in reference_faults(broken(name, path, value, of)))


@pytest.mark.parametrize(
    ("check", "name", "path", "value", "found"),
    [
        (newest, "Service gateway", "spec.port", 80, "'port' was unexpected"),
        (newest, "Deployment gateway", "spec.selector", GONE, "'selector' is a required property"),
        (newest, "Deployment gateway", "spec.replicas", "2", "is not of type 'integer'"),
        (newest, "Service gateway", "kind", "Servicette", "no CRD in CRDS describes v1 Servicette"),
        (null_faults, "Service gateway", "metadata.annotations", None, "metadata.annotations is null"),
        (name_faults, "Service gateway", "metadata.name", "a.b", "is no DNS label"),
        (name_faults, "CronJob materialization", "metadata.name", "n" * 53, "has 53 characters"),
        (name_faults, "Service gateway", "metadata.namespace", GONE, "names no namespace"),
        (name_faults, "Service gateway", "metadata.labels.team", 7, "label team is 7"),
        (name_faults, "Service gateway", "metadata.labels.team", "a+b", "label team is 'a+b'"),
    ],
)
def test_what_kubernetes_would_refuse_is_found(check: Check, name: str, path: str, value: object, found: str) -> None:
    assert any(found in fault for fault in check(broken(name, path, value)))


def test_an_unknown_key_of_a_custom_kind_is_found() -> None:
    objects = broken("HTTPRoute gateway", "spec.rules.0.backendRefs.0.wieght", 1, of="http-route")
    assert any("'wieght' was unexpected" in fault for fault in newest(objects))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Deployment gateway", "spec.selector.matchLabels.version"),
        ("StatefulSet postgres", "spec.volumeClaimTemplates.0.metadata.labels"),
        ("PersistentVolumeClaim training-sets", "spec.storageClassName"),
    ],
)
def test_what_an_upgrade_may_not_change_is_found(name: str, path: str) -> None:
    faults = update_faults(branch("defaults").render().objects, broken(name, path, "1"))
    assert [fault.endswith("cannot be updated") for fault in faults] == [True]


def test_a_job_that_changes_under_its_name_or_is_renamed_for_nothing_is_found() -> None:
    before = branch("defaults").render().objects
    job = next(one for one in before if one["kind"] == "Job" and "-apply-" in one["metadata"]["name"])
    name = job["metadata"]["name"].removeprefix(f"{FULL}-")
    changed = broken(f"Job {name}", "spec.template.metadata.labels.version", "1")
    assert update_faults(before, changed) == [f"Job {FULL}-{name} cannot be updated"]
    renamed = broken(f"Job {name}", "metadata.name", f"{FULL}-apply-00000000")
    assert rerun_faults(before, renamed) == [
        f"Job {FULL}-apply-00000000 runs again, and does what Job {FULL}-{name} did"
    ]


def test_a_hash_alone_is_no_effect() -> None:
    before = branch("defaults").render().objects
    job = next(one for one in before if one["kind"] == "Job" and "-apply-" in one["metadata"]["name"])
    renamed = broken(
        f"Job {job['metadata']['name'].removeprefix(f'{FULL}-')}", "metadata.name", f"{FULL}-apply-00000000"
    )
    summed = broken_pod("containers.0.name", "gateway")
    put(find(summed, "Deployment gateway"), "spec.template.metadata.annotations.checksum/all-values", "1")
    assert Effect(branch("defaults"), before, renamed).touched == []
    assert [name_of(one) for one in Effect(branch("defaults"), before, summed).touched] == []


def test_put_sets_adds_and_removes() -> None:
    tree = {"a": [{"b": 1}], "c": 2}
    put(tree, "a.0.b", 3)
    put(tree, "a.1", 4)
    put(tree, "d.e", 5)
    put(tree, "c", GONE)
    assert tree == {"a": [{"b": 3}, 4], "d": {"e": 5}}

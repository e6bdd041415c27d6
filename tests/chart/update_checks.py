"""What an upgrade can do: Kubernetes refuses changes of some fields, and a Job runs again only under another name."""

from typing import Any

from tests.chart.manifests import Manifest, lasting_name, name_of

JOB_FIXED = (
    "template", "completions", "completionMode", "selector", "podFailurePolicy", "successPolicy",
    "backoffLimitPerIndex", "managedBy",
)  # fmt: skip
STATEFUL_SET_FREE = {
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
}  # fmt: skip


def fixed_part(manifest: Manifest) -> Any:
    """What Kubernetes does not let change while the object keeps its name."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Job":
            return {key: spec.get(key) for key in JOB_FIXED}
        case "Deployment" | "DaemonSet":
            return spec["selector"]
        case "StatefulSet":
            return {key: value for key, value in spec.items() if key not in STATEFUL_SET_FREE}
        case "PersistentVolumeClaim":
            return {key: value for key, value in spec.items() if key != "resources"}
        case "Secret":
            return manifest.get("type")
    return None


def update_faults(before: list[Manifest], after: list[Manifest]) -> list[str]:
    """The objects that the API server would refuse to update."""
    were = {name_of(manifest): manifest for manifest in before}
    return [
        f"{name_of(manifest)} cannot be updated"
        for manifest in after
        if name_of(manifest) in were and fixed_part(manifest) != fixed_part(were[name_of(manifest)])
    ]


def rerun_faults(before: list[Manifest], after: list[Manifest]) -> list[str]:
    """The Jobs that would run again though nothing of their work changed."""
    were = {lasting_name(manifest): manifest for manifest in before if manifest["kind"] == "Job"}
    return [
        f"{name_of(manifest)} runs again, and does what {name_of(were[lasting_name(manifest)])} did"
        for manifest in after
        if lasting_name(manifest) in were
        and name_of(manifest) != name_of(were[lasting_name(manifest)])
        and fixed_part(manifest) == fixed_part(were[lasting_name(manifest)])
    ]

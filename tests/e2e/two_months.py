"""A release with two months in Postgres, which can be made to show the one or the other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e import online_bytes
from tests.e2e.answers import Features
from tests.e2e.held import Held, held
from tests.e2e.namespace import Namespace, is_ready
from tests.e2e.objects import Object
from tests.e2e.release import Release, Values
from tests.e2e.sample_platform import features_in_postgres, install_with_sample
from tests.e2e.toolbox import toolbox
from tests.process_support import wait_for

MONTHS = ("2024-01-31", "2024-02-29")
READER, CLIENT = "reader", "client"
"""Pods that the policies let to the stores, and to the feature server."""
# In so many partitions that a moment between the first and the last of them is easy to find.
HALFWAY = "--partitions=200"
HALFWAY_SECONDS = 90.0
# As the chart has it: what serves must not be the first to starve on a machine that is busy with its own installation.
SERVING: Values = {
    component: {"resources": {"requests": {"cpu": "100m"}}} for component in ("gateway", "featureServer", "redis")
}


@dataclass(frozen=True)
class TwoMonths:
    """The release; of each month what Postgres says is to be served, and what Redis holds after an undisturbed Job."""

    release: Release
    features: Mapping[str, Features]
    online: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The month that the online store shows."""
        with self.release.client() as client:
            views = client.get("/status").json()["feature_views"]
        (watermark,) = {view["watermark"] for view in views.values()}
        return str(watermark)[:10]

    @property
    def other(self) -> str:
        """The month that it does not show."""
        (month,) = set(MONTHS) - {self.shown}
        return month

    def pods(self, component: str) -> list[Object]:
        """The component's ready pods."""
        return [pod for pod in self.release.namespace.of_component("Pod", component) if is_ready(pod)]

    def held(self) -> Held:
        """What the release holds now."""
        return held(self.release, READER)

    def redis(self) -> dict[str, str]:
        """What Redis holds, status and plans too."""
        return online_bytes.hashes(self.release, READER)

    def wait_until_halfway(self) -> None:
        """Return when the online store shows neither month, but a part of each; an AssertionError if it never does."""
        shown = self.online.values()
        wait_for(lambda: self.held().online not in shown, "the online store to change", HALFWAY_SECONDS)

    def materialization(self, job: str, month: str, flags: Sequence[str] = ()) -> str:
        """Start a Job of the CronJob's template that shows `month`, with more flags; its name."""
        objects = self.release.namespace.objects
        spec = objects.get("CronJob", f"{self.release.full}-materialization")["spec"]["jobTemplate"]["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        container["command"] += [f"--as-of={month}", "--rollback", *flags]
        objects.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job}, "spec": spec})
        return job


@contextmanager
def two_months(namespace: Namespace) -> Iterator[TwoMonths]:
    """Install behind the ingress, and show each month once, the newest first."""
    release = Release(namespace)
    install_with_sample(release, len(MONTHS), SERVING)
    job = {
        "app.kubernetes.io/name": "feature-platform",
        "app.kubernetes.io/instance": release.name,
        "app.kubernetes.io/component": "materialization",
    }
    client = {f"{release.full}-feature-server-client": "true"}
    with toolbox(namespace, READER, labels=job), toolbox(namespace, CLIENT, labels=client):
        online: dict[str, str] = {}
        features = {month: features_in_postgres(release, f"{month}T00:00:00") for month in MONTHS}
        platform = TwoMonths(release, features, online)
        for month in reversed(MONTHS):
            if platform.shown != month:
                namespace.job_succeeds(platform.materialization(f"undisturbed-{month}", month))
            online[month] = platform.held().online
        yield platform


def on_demand_inputs(row: Mapping[str, Any]) -> list[Any]:
    """What a customer's on-demand features are computed from: fee, hours, devices."""
    return [row[name] for name in ("monthly_fee", "watch_hours_30d", "unique_devices_30d")]


def on_demand_features(row: Mapping[str, Any]) -> dict[str, float | None]:
    """A customer's on-demand features, reckoned without any code of ours."""
    fee, hours, devices = on_demand_inputs(row)
    known = None not in (fee, hours, devices)
    return {
        "fee_per_watch_hour": fee / hours if known and hours else None,
        "watch_hours_per_device": hours / devices if known and devices else None,
    }

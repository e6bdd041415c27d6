"""A release under traffic, from outside and from inside the cluster, while something is done to it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.held import Held, held
from tests.e2e.objects import Object
from tests.e2e.release import Release
from tests.e2e.toolbox import Toolbox, toolbox
from tests.e2e.traffic import Report, RightAnswers, traffic
from tests.e2e.traffic_in_pod import put_client, traffic_in_pod

PER_SECOND = 30
"""From inside; beside the requests through the ingress."""
REPLACED = "app.kubernetes.io/component in (gateway, feature-server)"
GONE_SECONDS = 90.0
JOB_LABELS = {"app.kubernetes.io/name": "feature-platform", "app.kubernetes.io/component": "materialization"}
"""With the release's name as app.kubernetes.io/instance a pod may go where a materialization may."""


@dataclass(frozen=True)
class Watched:
    """What came of a change."""

    before: Held
    after: Held
    reports: Mapping[str, Report]
    """Of requests through the `ingress`, and of others straight to the `service`, where no proxy asks twice."""


class Watch:
    """A release's two clients, and what it has to answer."""

    def __init__(self, release: Release, right: RightAnswers, recorder: Toolbox, reader: Toolbox) -> None:
        self._release, self._right, self._recorder, self._reader = release, right, recorder, reader

    def held(self) -> Held:
        """What the release holds now."""
        return held(self._release, self._reader.name)

    def during(self, change: Callable[[], object]) -> Watched:
        """Send requests until the change is done and every pod that it replaced is gone."""
        before = self.held()
        release, namespace = self._release, self._release.namespace
        address = namespace.objects.get("Service", f"{release.full}-gateway")["spec"]["clusterIP"]
        with (
            traffic(namespace.cluster.ingress_url, release.host, self._right) as ingress,
            traffic_in_pod(self._recorder, f"http://{address}", release.host, self._right, PER_SECOND) as service,
        ):
            change()
            namespace.objects.until("Pod", _none_goes, "old pods to go", seconds=GONE_SECONDS, selector=REPLACED)
        return Watched(before, self.held(), {"ingress": ingress.report, "service": service.report})


@contextmanager
def watching(release: Release, right: RightAnswers) -> Iterator[Watch]:
    """Clients of the release, one of them in a pod that no policy of the release speaks of."""
    labels = JOB_LABELS | {"app.kubernetes.io/instance": release.name}
    with (
        toolbox(release.namespace, "recorder") as recorder,
        toolbox(release.namespace, "reader", labels=labels) as reader,
    ):
        put_client(recorder)
        yield Watch(release, right, recorder, reader)


def _none_goes(seen: Mapping[str, Object]) -> bool:
    return not any("deletionTimestamp" in pod["metadata"] for pod in seen.values())

"""The objects of one namespace as the API server has them, in plain dicts, and waiting for what becomes of them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, TypeAlias, TypeVar, cast

import urllib3
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from tests.e2e.commands import WaitError

Object: TypeAlias = dict[str, Any]
T = TypeVar("T")

API_VERSIONS = {
    "ConfigMap": "v1",
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "Event": "v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "Pod": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Secret": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
}
RECONNECT_SECONDS = 0.5
# What a watch ends with when the API server goes away, or says that it has forgotten where the watch began.
INTERRUPTIONS = (ApiException, urllib3.exceptions.HTTPError, OSError)


class Objects:
    """One namespace through the API server. Kinds are named as in a manifest."""

    def __init__(self, api: Any, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of the kind with these labels."""
        return self._listed(kind, selector, "")[0]

    def get(self, kind: str, name: str) -> Object:
        """The object. Raises kubernetes' NotFoundError."""
        return cast(Object, self._kind(kind).get(name=name, namespace=self._namespace).to_dict())

    def create(self, body: Object) -> Object:
        """Create the object and return it as the API server has completed it."""
        return cast(Object, self._kind(body["kind"]).create(body=body, namespace=self._namespace).to_dict())

    def patch(self, kind: str, name: str, body: Object) -> Object:
        """Change the object by a merge patch and return it."""
        changed = self._kind(kind).patch(
            name=name, namespace=self._namespace, body=body, content_type="application/merge-patch+json"
        )
        return cast(Object, changed.to_dict())

    def delete(self, kind: str, name: str, grace_seconds: int | None = None) -> None:
        """Delete the object, and what it owns, without waiting for its end."""
        options: Object = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self._kind(kind).delete(name=name, namespace=self._namespace, body=options)

    def until(
        self,
        kind: str,
        condition: Callable[[Mapping[str, Object]], T | None],
        what: str,
        *,
        seconds: float,
        selector: str = "",
        name: str = "",
    ) -> T:
        """The first true answer of `condition`, which is given the selected objects by name: now and at each change.

        Raises WaitError that says `what` was waited for. An API server that is away for a while is waited for, too.
        """
        deadline = time.monotonic() + seconds
        field = f"metadata.name={name}" if name else ""
        seen: Mapping[str, Object] = {}
        trouble = ""
        while True:
            try:
                for seen in self._states(kind, selector, field, deadline):
                    if answer := condition(seen):
                        return answer
                trouble = ""
            except INTERRUPTIONS as error:
                trouble = f"; the API server said: {str(error).splitlines()[0]}"
                time.sleep(RECONNECT_SECONDS)
            if time.monotonic() >= deadline:
                last = "; ".join(map(summary, seen.values())) or f"no {kind} {selector}{name}"
                raise WaitError(f"waited {seconds:g} s in vain: {what}; seen last: {last}{trouble}")

    def _states(self, kind: str, selector: str, field: str, deadline: float) -> Iterator[Mapping[str, Object]]:
        """The selected objects by name, now and after each change, until the deadline or the watch's early end."""
        items, version = self._listed(kind, selector, field)
        state = {item["metadata"]["name"]: item for item in items}
        yield state
        left = deadline - time.monotonic()
        if left <= 0:
            return
        watcher: Any = cast(Any, watch.Watch)()
        events = watcher.stream(
            self._kind(kind).get,
            namespace=self._namespace,
            label_selector=selector,
            field_selector=field,
            resource_version=version,
            serialize=False,
            timeout_seconds=int(left) + 1,
            _request_timeout=(5, left + 5),
        )
        with closing(events):
            for event in events:
                item = event["object"]
                if event["type"] == "DELETED":
                    state.pop(item["metadata"]["name"], None)
                else:
                    state[item["metadata"]["name"]] = item
                yield state

    def _listed(self, kind: str, selector: str, field: str) -> tuple[list[Object], str]:
        answer = self._kind(kind).get(namespace=self._namespace, label_selector=selector, field_selector=field)
        document = answer.to_dict()
        return document["items"], document["metadata"]["resourceVersion"]

    def _kind(self, kind: str) -> Any:
        return self._api.resources.get(api_version=API_VERSIONS[kind], kind=kind)


def summary(item: Object) -> str:
    """The object's name and state on one line."""
    status = item.get("status", {})
    states = [item["metadata"]["name"], *filter(None, [status.get("phase")])]
    states += [_condition(condition) for condition in status.get("conditions") or []]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        states.append(f"{container['name']}: {json.dumps(container.get('state', {}))}")
    return " ".join(states)


def _condition(condition: Object) -> str:
    why = " ".join(filter(None, [condition.get("reason"), condition.get("message")]))
    return f"{condition['type']}={condition['status']}" + (f" ({why})" if why else "")

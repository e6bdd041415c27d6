"""The serving plan: the feature services resolved for reading, as the gateway takes them from Redis."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from jobs.definitions import Definitions, Feature, OnDemandView, Service, SnapshotView
from jobs.online.encoding import feature_field, timestamp_field
from jobs.online.status import ViewStatus
from jobs.online.store import Client

FORMAT = 1
"""Raised whenever a gateway of the release before could not read the plan."""


@dataclass(frozen=True)
class ServingPlan:
    """A plan as it stands in Redis: its JSON text, and as version the SHA-256 of that."""

    text: bytes

    @property
    def version(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text).hexdigest()

    def unfilled_views(self, status: dict[str, ViewStatus]) -> list[str]:
        """The feature views of which a service reads a feature that no materialization has written yet, sorted."""
        services = self._needs().values()
        return sorted({view for needs in services for view in needs if not _is_filled(view, needs[view], status)})

    def serves(self, status: dict[str, ViewStatus]) -> bool:
        """Whether at least one feature service has all that it reads."""
        return any(
            all(_is_filled(view, types, status) for view, types in needs.items()) for needs in self._needs().values()
        )

    def reads(self) -> set[tuple[str, str]]:
        """Each (feature view, feature) that some service reads from the store, also as an on-demand view's input."""
        return {(view, name) for needs in self._needs().values() for view, types in needs.items() for name in types}

    def _needs(self) -> dict[str, dict[str, dict[str, str]]]:
        # service -> feature view -> feature -> type
        needs: dict[str, dict[str, dict[str, str]]] = {}
        # What is no plan, or no service, no gateway serves: a plan of ours may take its place.
        with suppress(*_UNREADABLE):
            plan = json.loads(self.text)
            services = plan["feature_services"].items() if plan["format"] == FORMAT else ()
            for name, service in services:
                with suppress(*_UNREADABLE):
                    needs[name] = _types_read(plan, service)
        return needs


_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


def _types_read(plan: dict[str, Any], service: dict[str, Any]) -> dict[str, dict[str, str]]:
    views: dict[str, dict[str, str]] = {}
    for item in service["features"]:
        on_demand = plan["on_demand_feature_views"].get(item["feature_view"])
        stored = [f"{item['feature_view']}:{item['feature']}"] if on_demand is None else on_demand["inputs"]
        for view, feature in (reference.split(":", 1) for reference in stored):
            views.setdefault(view, {})[feature] = plan["feature_views"][view]["features"][feature]["type"]
    return views


def _is_filled(view: str, types: dict[str, str], status: dict[str, ViewStatus]) -> bool:
    return view in status and types.items() <= status[view].features.items()


def build_plan(definitions: Definitions) -> ServingPlan:
    """The plan of all feature services; equal definitions give equal bytes."""
    plan = {
        "format": FORMAT,
        "project": definitions.project,
        "default_feature_service": definitions.default_service,
        "feature_views": {view.name: _snapshot_view(view) for view in definitions.views},
        "on_demand_feature_views": {view.name: _on_demand_view(view) for view in definitions.on_demand_views},
        "feature_services": {service.name: _service(service) for service in definitions.services},
    }
    return ServingPlan(json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def plan_key(project: str) -> str:
    """The Redis hash that holds the plan in fields `version` and `json`."""
    return f"feature-platform:{project}:plan"


def read_plan(client: Client, project: str) -> ServingPlan | None:
    """The plan that gateways serve by now; None when there is none."""
    text = client.hget(plan_key(project), "json")
    return ServingPlan(text) if isinstance(text, bytes) else None


class Publication(StrEnum):
    """What became of a plan that was to be published."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    """Features that it needs are not filled yet; the former plan serves on."""


def publish_plan(client: Client, project: str, plan: ServingPlan, status: dict[str, ViewStatus]) -> Publication:
    """Make gateways serve by `plan`, unless that would take features from callers who get them by the former plan."""
    current = read_plan(client, project)
    if current == plan:
        return Publication.UNCHANGED
    if current is not None and current.serves(status) and plan.unfilled_views(status):
        return Publication.WAITING
    # Version and text change together, in one command.
    client.hset(plan_key(project), mapping={"version": plan.version, "json": plan.text})
    return Publication.PUBLISHED


def _described(thing: SnapshotView | OnDemandView | Service) -> dict[str, Any]:
    return {"description": thing.description, "owner": thing.owner, "tags": thing.tags}


def _snapshot_view(view: SnapshotView) -> dict[str, Any]:
    return _described(view) | {
        "join_keys": [{"name": key.name, "type": key.type} for key in view.join_keys],
        "ttl_seconds": None if view.ttl is None else _seconds(view.ttl),
        "timestamp_field": timestamp_field(view.name).hex(),
        "source": view.source,
        "features": {
            feature.name: _feature(feature) | {"field": feature_field(view.name, feature.name).hex()}
            for feature in view.features
        },
    }


def _seconds(duration: timedelta) -> float:
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _on_demand_view(view: OnDemandView) -> dict[str, Any]:
    features = {feature.name: _feature(feature) for feature in view.features}
    return _described(view) | {"features": features, "inputs": list(view.inputs)}


def _feature(feature: Feature) -> dict[str, Any]:
    return {"type": feature.type, "description": feature.description, "tags": feature.tags}


def _service(service: Service) -> dict[str, Any]:
    features = [
        {"name": item.name, "full_name": item.full_name, "feature_view": item.feature_view, "feature": item.feature}
        for item in service.features
    ]
    return _described(service) | {"features": features}

"""A feature service as a training set reads it: its views with their entity columns, its features with their names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.definitions import Definitions, Service, SnapshotView
from jobs.errors import UsageError

if TYPE_CHECKING:
    from feast import FeatureService


@dataclass(frozen=True)
class TrainingView:
    """A feature view under the name, and with the entity columns, that the service gives it."""

    name: str
    view: SnapshotView
    keys: tuple[tuple[str, str], ...]
    """Entity column and source column of each join key."""

    def column(self, feature: str) -> str:
        """The feature's full name in a training set."""
        return f"{self.name}__{feature}"


def find_service(definitions: Definitions, name: str | None) -> Service:
    """The service of that name, or the default one. Raises UsageError naming those that there are."""
    wanted = name or definitions.default_service
    for service in definitions.services:
        if service.name == wanted:
            return service
    known = ", ".join(service.name for service in definitions.services)
    raise UsageError(f"--feature-service {wanted} is unknown; the registry holds {known}")


def training_views(service: "FeatureService", definitions: Definitions) -> list[TrainingView]:
    """The snapshot views whose features the service shows or computes with, in its order."""
    views = {view.name: view for view in definitions.views}
    inputs_of = {view.name: view.inputs for view in definitions.on_demand_views}
    found: dict[str, TrainingView] = {}
    for projection in service.feature_view_projections:
        if projection.name in views:
            view = _training_view(projection.name_to_use(), views[projection.name], projection.join_key_map)
            found.setdefault(view.name, view)
        for reference in inputs_of.get(projection.name, ()):
            name = reference.partition(":")[0]
            if name in views:
                found.setdefault(name, _training_view(name, views[name], {}))
    return list(found.values())


def feature_columns(service: Service, label: str, others: tuple[str, ...], *, full_names: bool) -> dict[str, str]:
    """Full name to the name in the set, in the service's order. Raises UsageError when two columns share a name."""
    names = {feature.full_name: feature.full_name if full_names else feature.name for feature in service.features}
    taken = [*others, *names.values(), label]
    doubled = sorted({name for name in taken if taken.count(name) > 1})
    if doubled:
        raise UsageError(
            f"feature service {service.name} gives two columns the name {doubled[0]}; "
            "--full-feature-names writes the feature view in front"
        )
    return names


def _training_view(name: str, view: SnapshotView, join_key_map: dict[str, str]) -> TrainingView:
    keys = tuple((join_key_map.get(key.name, key.name), key.column) for key in view.join_keys)
    return TrainingView(name, view, keys)

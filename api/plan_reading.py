"""From the document in Redis to the plan. Each object is read by itself: a broken one takes down only what needs it."""

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from api.plan import FeatureService, FeatureView, OnDemandFeature, OnDemandFeatureView, Part, Plan, StoredFeature, split

Sound = TypeVar("Sound", bound=Part)
View = TypeVar("View", FeatureView, OnDemandFeatureView)
Objects = Annotated[dict[str, Any], BeforeValidator(lambda found: found if isinstance(found, dict) else {})]


class PlanRejected(ValueError):
    """A plan that cannot be served by; the message says why in one sentence."""


class _Document(Part):
    format: Literal[1]
    project: str
    default_feature_service: Annotated[
        str | None, BeforeValidator(lambda name: name if isinstance(name, str) else None)
    ]
    feature_views: Objects
    on_demand_feature_views: Objects = Field(default_factory=dict)
    feature_services: Objects


def parse(document: bytes, version: str, project: str) -> Plan:
    """What can be served of `document`; PlanRejected if nothing can.

    That is one that is not whole, of another format or project, or without a feature service that can be served.
    """
    if hashlib.sha256(document).hexdigest() != version:
        raise PlanRejected("its version is not the SHA-256 of its bytes")
    try:
        found = _Document.model_validate_json(document)
    except ValidationError as error:
        raise PlanRejected(_complaint(error)) from None
    if found.project != project:
        raise PlanRejected(f"it is for project {found.project!r}, this gateway serves {project!r}")
    plan = _plan(found)
    if not plan.feature_services:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in plan.problems.items())
        raise PlanRejected(f"none of its feature_services can be served: {reasons or 'there are none'}")
    return plan


def _plan(found: _Document) -> Plan:
    flaws: dict[tuple[str, str | None], str] = {}
    views = _views(found.feature_views, FeatureView, StoredFeature, flaws)
    on_demand = _views(found.on_demand_feature_views, OnDemandFeatureView, OnDemandFeature, flaws)
    plan = Plan(found.project, found.default_feature_service, views, on_demand, flaws=flaws)
    _flag_shared_fields(plan)
    for name, view in on_demand.items():
        reason = _why_not(plan, [split(reference) for reference in view.inputs], plan.stores)
        if name in views:
            reason = "a stored feature view has its name"
        if reason is not None:
            flaws[name, None] = f"on-demand feature view {name!r} cannot be computed: {reason}"
    _add_services(plan, found.feature_services)
    return plan


def _add_services(plan: Plan, parts: dict[str, Any]) -> None:
    services = _sound(parts, FeatureService, plan.problems.__setitem__)
    for name, service in services.items():
        reason = _why_not(plan, [(item.feature_view, item.feature) for item in service.features], plan.holds)
        reason = reason or _name_given_twice(service)
        if reason is None:
            plan.feature_services[name] = service
        else:
            plan.problems[name] = reason
    default = plan.default_feature_service
    if default is not None and default not in plan.feature_services:
        plan.problems.setdefault(default, "it is not in the serving plan")


def _views(
    parts: dict[str, Any], kind: type[View], feature_kind: type[Part], flaws: dict[tuple[str, str | None], str]
) -> dict[str, View]:
    """The views that are whole, each without those of its features that are not."""

    def without_broken_features(view: str, part: Any) -> Any:
        if not isinstance(part, dict) or not isinstance(part.get("features"), dict):
            return part

        def note(feature: str, reason: str) -> None:
            flaws[view, feature] = f"feature {f'{view}:{feature}'!r} is broken: {reason}"

        return part | {"features": _sound(part["features"], feature_kind, note)}

    def note(view: str, reason: str) -> None:
        flaws[view, None] = f"feature view {view!r} is broken: {reason}"

    return _sound({view: without_broken_features(view, part) for view, part in parts.items()}, kind, note)


def _sound(parts: dict[str, Any], kind: type[Sound], note: Callable[[str, str], None]) -> dict[str, Sound]:
    """Those of `parts` that are whole; `note` is told of each other one what is wrong with it."""
    sound = {}
    for name, part in parts.items():
        try:
            sound[name] = kind.model_validate(part)
        except ValidationError as error:
            note(name, _complaint(error))
    return sound


def _flag_shared_fields(plan: Plan) -> None:
    """Of two features in one field of an entity's hash, neither value is known to be its own."""
    owners: dict[tuple[object, bytes], tuple[str, str]] = {}
    for name, view in plan.feature_views.items():
        keys = frozenset((key.name, key.type) for key in view.join_keys)
        for feature, stored in view.features.items():
            other = owners.setdefault((keys, stored.field), (name, feature))
            if other != (name, feature):
                reason = f"features {':'.join(other)!r} and {f'{name}:{feature}'!r} have the same field in Redis"
                plan.flaws[other] = plan.flaws[name, feature] = reason


def _why_not(plan: Plan, references: list[tuple[str, str]], is_there: Callable[[str, str], bool]) -> str | None:
    """What keeps these features from being read, together."""
    for view, feature in references:
        flaw = plan.flaw(view, feature)
        if flaw is not None:
            return flaw
        if not is_there(view, feature):
            return f"it names feature {f'{view}:{feature}'!r}, which no feature view has"
    return plan.key_conflict(dict.fromkeys(view for view, _ in references))


def _name_given_twice(service: FeatureService) -> str | None:
    for names in ([item.name for item in service.features], [item.full_name for item in service.features]):
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            return f"it names {name!r} more than once"
    return None


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'it'}: {first['msg'].removeprefix('Value error, ')}"

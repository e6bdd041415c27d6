"""The bodies of answers, as JSON-like objects."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from api import instants, problems
from api.instants import SECOND
from api.plan import Plan, ServiceFeature
from api.reader import PRESENT, Cell, Row, worst
from api.selection import Asked, Selection, Selector

NEVER = instants.to_text(0)


def one(selection: Selection, row: Row, metadata: bool) -> dict[str, Any]:
    """The answer of GET /features/{id}."""
    answer: dict[str, Any] = dict(row.keys)
    answer["features"] = {asked.name: plain(cell.value) for asked, cell in _pairs(selection, row)}
    if metadata:
        answer["metadata"] = {asked.name: _metadata(asked, cell) for asked, cell in _pairs(selection, row)}
    return answer


def found(selection: Selection, row: Row, metadata: bool) -> dict[str, Any]:
    """One result of POST /features. Where GET would answer with a problem, the problem."""
    if row.problem is not None:
        return {"found": row.known, **row.keys, "problem": problems.body(row.problem)}
    return {"found": row.known, **one(selection, row, metadata)}


def feast_metadata(selection: Selection, entities: Sequence[str], full_names: bool, with_views: bool) -> dict[str, Any]:
    """What POST /get-online-features says of its results: their names, the join keys first, as Feast orders them."""
    names = [asked.full_name if full_names else asked.name for asked in selection.asked]
    metadata: dict[str, Any] = {"feature_names": [*entities, *names]}
    if with_views:
        metadata["feature_view_metadata"] = [{"name": view} for view in selection.views]
    return metadata


def feast_results(selection: Selection, rows: Sequence[Row], entities: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The results of POST /get-online-features: one a column."""
    for name in entities:
        yield _column([Cell(row.keys[name], PRESENT, None, None) for row in rows])
    for number in range(len(selection.asked)):
        yield _column([row.cells[number] for row in rows])


def _column(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "values": [protobuf_json(cell.value) for cell in cells],
        "statuses": [cell.status for cell in cells],
        "event_timestamps": [NEVER if cell.as_of is None else instants.to_text(cell.as_of) for cell in cells],
    }


def _pairs(selection: Selection, row: Row) -> Iterator[tuple[Asked, Cell]]:
    return zip(selection.asked, row.cells, strict=True)


def _metadata(asked: Asked, cell: Cell) -> dict[str, Any]:
    metadata = {
        "status": cell.shown,
        "event_timestamp": None if cell.as_of is None else instants.to_text(cell.as_of),
        "age": None if cell.age is None else seconds(cell.age),
    }
    return metadata | {"inputs_status": worst(cell.inputs)} if asked.on_demand else metadata


def seconds(nanoseconds: int) -> float:
    """Seconds to the millisecond."""
    return round(nanoseconds / SECOND, 3)


def plain(value: Any) -> Any:
    """A value without NaN and the infinities, which JSON has not: null."""
    return _each_float(value, lambda _: None)


def protobuf_json(value: Any) -> Any:
    """NaN and the infinities as the texts of protobuf's JSON mapping, which Feast's feature server uses."""
    return _each_float(value, lambda number: "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


def _each_float(value: Any, replace: Callable[[float], Any]) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else replace(value)
    if isinstance(value, list):
        return [_each_float(item, replace) for item in value]
    if isinstance(value, dict):
        return {name: _each_float(item, replace) for name, item in value.items()}
    return value


def services(selector: Selector) -> dict[str, Any]:
    """The answer of GET /feature-services."""
    plan = selector.plan
    summaries = {name: _summary(selector, name) for name in plan.feature_services}
    summaries |= {name: _problem(plan, name) for name in plan.problems}
    return {
        "default": plan.default_feature_service,
        "feature_services": [summaries[name] for name in sorted(summaries)],
    }


def service(selector: Selector, name: str) -> dict[str, Any]:
    """The answer of GET /feature-services/{name}."""
    features = selector.plan.feature_services[name].features
    return {**_summary(selector, name), "features": [_feature(selector.plan, feature) for feature in features]}


def _summary(selector: Selector, name: str) -> dict[str, Any]:
    found = selector.plan.feature_services[name]
    return {
        "name": name,
        "default": name == selector.plan.default_feature_service,
        "description": found.description,
        "owner": found.owner,
        "tags": found.tags,
        "join_keys": [{"name": key.name, "type": key.type} for key in selector.services[name].join_keys],
        "features": [feature.name for feature in found.features],
    }


def _problem(plan: Plan, name: str) -> dict[str, Any]:
    """Of a service that cannot be served: its name, the reason, and all else that a summary has, empty."""
    return {
        "name": name,
        "default": name == plan.default_feature_service,
        "description": "",
        "owner": "",
        "tags": {},
        "join_keys": [],
        "features": [],
        "problem": plan.problems[name],
    }


def _feature(plan: Plan, wanted: ServiceFeature) -> dict[str, Any]:
    common = {
        "name": wanted.name,
        "reference": f"{wanted.feature_view}:{wanted.feature}",
        "feature_view": wanted.feature_view,
    }
    computed = plan.on_demand_feature_views.get(wanted.feature_view)
    if computed is not None:
        on_demand = computed.features[wanted.feature]
        return common | {
            "type": on_demand.type,
            "description": on_demand.description or computed.description,
            "owner": computed.owner,
            "tags": on_demand.tags,
            "inputs": list(computed.inputs),
        }
    view = plan.feature_views[wanted.feature_view]
    stored = view.features[wanted.feature]
    return common | {
        "type": stored.type,
        "description": stored.description or view.description,
        "owner": view.owner,
        "tags": stored.tags,
        "source": view.source,
        "ttl_seconds": view.ttl_seconds,
    }

"""On-demand features are computed in one way: an online request gets what a training set gets.

Feast 0.67 has two. For a training set a function gets columns of the types of the definition; for an online request
Feast guesses them from the values that it finds: a column of NULLs has none, and is no number to pandas. A result of
another type than the defined one is cast there and refused here. A function for one row (`singleton`) gets one row here
and whole columns there.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from feast import utils
from feast.errors import FeastError
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from feast.transformation.python_transformation import PythonTransformation
from feast.type_map import python_values_to_proto_values
from feast.types import from_value_type
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

from jobs.feast_plugins.result_columns import promised_type

Function = Callable[[dict[str, Any]], dict[str, Any]]
# Rows on which a function fails are looked for in so many parts, and parts of parts.
PARTS = 8
# Feast's Redis store shows the fields in which it keeps timestamps as features.
TIMESTAMP_PREFIX = "_ts:"


class OnDemandFunctionFailed(FeastError):
    """The function of an on-demand feature view fails on these rows of an online request, which lack no input."""

    def __init__(self, view: str, rows: Sequence[int]) -> None:
        super().__init__(f"the function of on-demand feature view {view} fails on {len(rows)} of the rows")
        self._rows = rows

    def to_error_detail(self) -> str:
        """Feast's document, and the rows' numbers."""
        return json.dumps({**json.loads(super().to_error_detail()), "rows": self._rows})


def for_many_rows(view: OnDemandFeatureView) -> OnDemandFeatureView:
    """The view with a function of whole columns, also where it was written for one row."""
    if not view.singleton:
        return view
    transformation = view.feature_transformation
    assert isinstance(transformation, PythonTransformation)
    found = copy.copy(view)
    function = _each_row(transformation.udf, [field.name for field in view.features])
    found.feature_transformation = PythonTransformation(udf=function, udf_string=transformation.udf_string)  # type: ignore[arg-type]
    return found


def _each_row(function: Function, features: Sequence[str]) -> Function:
    def of_columns(inputs: dict[str, Any]) -> dict[str, Any]:
        rows = [function(dict(zip(inputs, row, strict=True))) for row in zip(*inputs.values(), strict=True)]
        return {feature: [_single(row[feature]) for row in rows] for feature in features}

    return of_columns


def _single(value: Any) -> Any:
    """Feast takes a list for the column of the one row."""
    if not isinstance(value, list):
        return value
    (found,) = value
    return found


def compute_online_as_for_training() -> None:
    """From now on Feast computes the on-demand features of online requests in this process as for a training set."""
    stock = utils._augment_response_with_on_demand_transforms

    def augment(
        online_features_response: GetOnlineFeaturesResponse,
        feature_refs: list[str],
        requested_on_demand_feature_views: list[OnDemandFeatureView],
        full_feature_names: bool,
        feature_types: dict[str, ValueType] | None = None,
    ) -> None:
        types = feature_types or {}
        inputs = _inputs(online_features_response, types)
        for view in filter(_is_ours, requested_on_demand_feature_views):
            asked = _asked(view, feature_refs)
            _add(online_features_response, view, asked, inputs, types, full_feature_names)
        others = [view for view in requested_on_demand_feature_views if not _is_ours(view)]
        if others:
            stock(online_features_response, feature_refs, others, full_feature_names, feature_types)

    utils._augment_response_with_on_demand_transforms = augment


def _is_ours(view: OnDemandFeatureView) -> bool:
    """Whether a training set computes it too, by a function."""
    return view.feature_transformation is not None and not view.write_to_online_store


def _inputs(response: GetOnlineFeaturesResponse, types: Mapping[str, ValueType]) -> pa.Table:
    """All that was read, as the offline store would have it."""
    columns = OnlineResponse(response, feature_types=dict(types)).to_dict()
    return pa.table(
        {
            name: pa.array(values, promised_type(from_value_type(types[name])) if name in types else None)
            for name, values in columns.items()
            if not name.startswith(TIMESTAMP_PREFIX)
        }
    )


def _asked(view: OnDemandFeatureView, references: Sequence[str]) -> set[str]:
    names = {view.name, view.projection.name_to_use()}
    pairs = (reference.split(":", 1) for reference in references)
    return {feature for name, feature in pairs if name in names}


def _add(
    response: GetOnlineFeaturesResponse,
    view: OnDemandFeatureView,
    asked: set[str],
    inputs: pa.Table,
    types: Mapping[str, ValueType],
    full_feature_names: bool,
) -> None:
    """Compute these features of a view and add them to the response.

    Where the function fails on a row that lacks an input, there is no value, and the status is INVALID. Raises
    OnDemandFunctionFailed where it fails on a row that lacks none.
    """
    sources = view.source_feature_view_projections.values()
    own = {name for of in sources for field in of.features for name in (field.name, f"{of.name}__{field.name}")}
    table = inputs.select([name for name in inputs.column_names if name not in types or name in own])
    values, failures = _values(for_many_rows(view), asked, table, full_feature_names)
    whole = [row for row in sorted(failures) if None not in table.slice(row, 1).to_pylist()[0].values()]
    if whole:
        raise OnDemandFunctionFailed(view.name, whole) from failures[whole[0]]
    rows = range(table.num_rows)
    statuses = [FieldStatus.INVALID if row in failures else FieldStatus.PRESENT for row in rows]
    for field in view.features:
        if field.name in asked:
            response.metadata.feature_names.val.append(_shown_name(view, field.name, full_feature_names))
            response.results.append(
                GetOnlineFeaturesResponse.FeatureVector(
                    values=[values[row][field.name] if row in values else Value() for row in rows],
                    statuses=statuses,
                    event_timestamps=[Timestamp() for _ in rows],
                )
            )


def _shown_name(view: OnDemandFeatureView, feature: str, full_feature_names: bool) -> str:
    return f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature


def _values(
    view: OnDemandFeatureView, asked: set[str], table: pa.Table, full_feature_names: bool
) -> tuple[dict[int, dict[str, Value]], dict[int, Exception]]:
    """By row, the values of these features as it would have them alone, and why the function fails on it."""
    found: dict[int, dict[str, Value]] = {}
    failures: dict[int, Exception] = {}

    def compute(rows: Sequence[int]) -> None:
        try:
            found.update(zip(rows, _computed(view, asked, table.take(rows), full_feature_names), strict=True))
        except Exception as error:
            if len(rows) == 1:
                failures[rows[0]] = error
                return
            size = -(-len(rows) // PARTS)
            for start in range(0, len(rows), size):
                compute(rows[start : start + size])

    for rows in _alike(view, table):
        compute(rows)
    return found, failures


def _alike(view: OnDemandFeatureView, table: pa.Table) -> list[list[int]]:
    """The rows, apart where the NULLs of some would change what pandas makes of the integers and booleans of others."""
    changed = [
        column.is_null().to_pylist()
        for column in table.columns
        if view.mode == "pandas"
        and column.null_count
        and (pa.types.is_integer(column.type) or column.type == pa.bool_())
    ]
    groups: dict[tuple[bool, ...], list[int]] = {}
    for row in range(table.num_rows):
        groups.setdefault(tuple(nulls[row] for nulls in changed), []).append(row)
    return list(groups.values())


def _computed(
    view: OnDemandFeatureView, asked: set[str], table: pa.Table, full_feature_names: bool
) -> list[dict[str, Value]]:
    """For each row the values of these features."""
    computed = view.transform_arrow(table, full_feature_names)
    columns = {
        field.name: python_values_to_proto_values(
            computed[_shown_name(view, field.name, full_feature_names)].cast(promised_type(field.dtype)).to_pylist(),
            field.dtype.to_value_type(),
        )
        for field in view.features
        if field.name in asked
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

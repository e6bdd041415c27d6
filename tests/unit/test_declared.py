"""What Feast takes and nothing here honours is refused by name. Real objects of Feast."""

from collections.abc import Callable
from typing import Any

import pytest
from feast import BatchFeatureView, Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.aggregation import Aggregation
from feast.credentials import ConnectionRef
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.permissions.permission import Permission
from feast.repo_config import RepoConfig
from feast.repo_contents import RepoContents
from feast.stream_feature_view import StreamFeatureView
from feast.types import Array, Float32, Float64, Int64, String

from jobs import declared
from jobs.findings import Finding, Findings

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
FIELDS = [Field(name="user_id", dtype=String), Field(name="a", dtype=Int64)]


def source(**more: Any) -> PostgreSQLSource:
    return PostgreSQLSource(**{"name": "rows", "table": "rows", "timestamp_field": "as_of", **more})


def view(**more: Any) -> FeatureView:
    return FeatureView(**{"name": "v", "entities": [USER], "source": source(), "schema": FIELDS, **more})


def pushed() -> PushSource:
    return PushSource(name="pushed", batch_source=source())


def on_demand(**more: Any) -> OnDemandFeatureView:
    return OnDemandFeatureView(
        **{
            "name": "o", "sources": [view()], "schema": [Field(name="b", dtype=Int64)], "mode": "python",
            "udf": lambda inputs: {"b": inputs["a"]}, **more,
        }
    )  # fmt: skip


def service(*features: Any, **more: Any) -> FeatureService:
    return FeatureService(name="s", features=list(features or [view()]), **more)


def batch(**more: Any) -> BatchFeatureView:
    return BatchFeatureView(**{"name": "v", "entities": [USER], "source": source(), "schema": FIELDS, **more})


def streamed() -> StreamFeatureView:
    return StreamFeatureView(name="v", entities=[USER], source=pushed(), schema=FIELDS)


def logged() -> LoggingConfig:
    return LoggingConfig(destination=FileLoggingDestination(path="/tmp/log"))


def found(*things: Any, **store: Any) -> list[Finding]:
    """What is found of a repository of these objects, in a store of these settings."""
    kinds = {
        "entities": Entity, "stream_feature_views": StreamFeatureView, "feature_views": FeatureView,
        "on_demand_feature_views": OnDemandFeatureView, "feature_services": FeatureService, "permissions": Permission,
    }  # fmt: skip
    contents: dict[str, list[Any]] = {kind: [] for kind in (*kinds, "projects", "data_sources", "label_views")}
    for thing in things:
        contents[next(kind for kind, classes in kinds.items() if isinstance(thing, classes))].append(thing)
    config = RepoConfig(
        **{
            "project": "demo", "provider": "local", "registry": "unused.db", "entity_key_serialization_version": 3,
            "online_store": RedisOnlineStoreConfig(), **store,
        }
    )  # fmt: skip
    findings = Findings()
    declared.check(config, RepoContents(**contents), findings)
    return list(findings)


HONOURED: dict[str, Callable[[], Any]] = {
    "a plain view": view,
    "a plain batch view": lambda: batch(online=True),
    "a view without a ttl": lambda: view(ttl=None),
    "a view of the latest version": lambda: view(version="latest"),
    "a view that is not online": lambda: view(online=False),
    "a view that asks for the checks of types, which are always made": lambda: view(enable_validation=True),
    "a view over a query with mapped columns": lambda: view(
        source=source(table=None, query="SELECT 1", field_mapping={"x": "a"})
    ),
    "an on-demand view": on_demand,
    "a service with an alias": lambda: service(view().with_name("alias")),
    "a service by a reference": lambda: service("v:a"),
    "metadata": lambda: view(tags={"team": "x"}, owner="x", description="x", org="x"),
}


@pytest.mark.parametrize("case", HONOURED)
def test_what_is_honoured_is_not_refused(case: str) -> None:
    assert found(HONOURED[case]()) == []


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a batch view with a function": (
        lambda: batch(udf=lambda frame: frame, mode="pandas"), "has a function or aggregations, which are not applied",
    ),
    "a batch view with aggregations": (
        lambda: batch(aggregations=[Aggregation(column="a", function="sum")]), "has a function or aggregations",
    ),
    "a stream view": (streamed, "has the PushSource pushed, of which nothing is taken; give it the batch source alone"),
    "a pushed view": (lambda: view(source=pushed()), "has the PushSource pushed, of which nothing is taken"),
    "a derived view": (
        lambda: view(source=[view(name="w")], sink_source=source()), "is derived from w, which is not computed",
    ),
    "a file": (
        lambda: view(source=FileSource(name="file", path="x.parquet", timestamp_field="as_of")),
        "has the FileSource file, but snapshots are in Postgres",
    ),
    "a pinned view": (lambda: view(version="v2"), "is pinned to version v2, but the latest is served"),
    "a disabled view": (lambda: view(enabled=False), "has enabled=False, which is not honoured"),
    "a view that writes back": (lambda: view(offline=True), "has offline=True, but nothing is written back"),
    "a vector index": (
        lambda: view(schema=[*FIELDS, Field(name="x", dtype=Array(Float32), vector_index=True)]),
        "has a field with vector_index=True",
    ),
    "a table and a query": (
        lambda: view(source=source(query="SELECT 1")), "has source rows with a table and a query, of which one is",
    ),
    "another connection": (
        lambda: view(source=source(connection_ref=ConnectionRef(provider="env", name="OTHER"))),
        "has source rows with a connection_ref, which is not honoured",
    ),
    "two columns of one name": (
        lambda: view(source=source(field_mapping={"x": "a", "y": "a"})), "has source rows that maps x, y to one name",
    ),
    "an on-demand view that is written": (
        lambda: on_demand(write_to_online_store=True), "has write_to_online_store=True, but nothing fills it",
    ),
    "an on-demand view that aggregates": (
        lambda: on_demand(aggregations=[Aggregation(column="a", function="sum")]), "has aggregations, which are not",
    ),
    "a pinned on-demand view": (lambda: on_demand(version="v2"), "is pinned to version v2"),
    "an on-demand view that renames keys": (
        lambda: on_demand(sources=[view().with_join_key_map({"user_id": "friend_id"})]), "renames the join keys of v",
    ),
    "an on-demand view over a version": (
        lambda: on_demand(sources=[service(view(version="v2")).feature_view_projections[0]]), "takes v@v2, but",
    ),
    "a service over a version": (lambda: service(view(version="v2")), "takes v@v2, but the latest version is served"),
    "a service that names a version": (lambda: service("v@v2:a"), "takes v@v2:a, but the latest version is served"),
    "a service that logs": (lambda: service(logging_config=logged()), "has a logging_config, but nothing is logged"),
    "a service computed ahead": (lambda: service(precompute_online=True), "has precompute_online=True, but nothing"),
    "a permission": (lambda: Permission(name="p"), "is asked by nobody here"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_honoured_is_refused_naming_the_object(case: str) -> None:
    make, wrong = REFUSED[case]
    thing = make()
    (finding,) = found(thing)
    assert finding.name == thing.name
    assert finding.sentence.startswith(f"{finding.kind} {finding.name} {wrong}")


STORES: dict[str, tuple[dict[str, Any], str]] = {
    "SQLite": ({"online_store": {"type": "sqlite"}}, "has an online store that is not Redis"),
    "keys that expire": (
        {"online_store": RedisOnlineStoreConfig(key_ttl_seconds=5)},
        "lets keys expire by online_store.key_ttl_seconds",
    ),
    "versioned fields": (
        {
            "registry": {
                "registry_type": "file",
                "path": "unused.db",
                "enable_online_feature_view_versioning": True,
            }
        },
        "has registry.enable_online_feature_view_versioning",
    ),
}


@pytest.mark.parametrize("case", STORES)
def test_settings_of_the_store_that_are_not_honoured_are_refused(case: str) -> None:
    settings, wrong = STORES[case]
    (finding,) = found(**settings)
    assert finding.sentence.startswith(f"feature store demo {wrong}")


def test_two_entities_of_one_name_are_refused_unless_they_are_equal() -> None:
    same = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    other = Entity(name="user", join_keys=["customer_id"], value_type=ValueType.STRING)
    assert found(USER, same) == []
    assert [finding.sentence for finding in found(USER, other)] == [
        "entity user is defined twice and differently; define it once"
    ]


def test_two_views_whose_names_differ_by_case_at_most_are_refused() -> None:
    assert [finding.sentence for finding in found(view(), on_demand(name="V"), view(name="w"))] == [
        "feature view V is defined and v too, which differs in upper and lower case; rename one"
    ]
    assert [finding.sentence for finding in found(view(), on_demand(name="v"))] == [
        "feature view v is defined twice; rename one"
    ]


def test_all_that_is_wrong_with_one_object_is_found() -> None:
    odd = view(version="v2", offline=True, source=pushed(), schema=[*FIELDS, Field(name="b", dtype=Float64)])
    assert len(found(odd)) == 3

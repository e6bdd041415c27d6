"""The definitions of a registry, resolved: what cannot be served is refused by name. Real Feast, a file as registry."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, RepoConfig, RequestSource, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, Map, PrimitiveFeastType, String

from jobs.definitions import Definitions, Feature, JoinKey, ServiceFeature, resolve
from jobs.errors import UsageError
from jobs.findings import RefusedError
from jobs.online.encoding import feature_field

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
SOURCE = PostgreSQLSource(
    name="snapshots",
    table="user_snapshots",
    timestamp_field="as_of",
    created_timestamp_column="created_at",
    field_mapping={"fee_usd": "fee"},
    tags={"tombstone_column": "gone"},
)
A_AND_FEE = (Field(name="a", dtype=Int64, description="the first"), Field(name="fee", dtype=Float64))
# Feast's hash of these two is the same, found by trying some 100,000 names.
COLLIDING = (("profile", "f5386"), ("usage", "f14061"))
Thing = Entity | FeatureView | OnDemandFeatureView | FeatureService


def view(name: str = "profile", schema: Sequence[Field] = A_AND_FEE, **more: Any) -> FeatureView:
    key = Field(name="user_id", dtype=String)
    given: dict[str, Any] = {
        "entities": [USER],
        "ttl": timedelta(days=45),
        "source": SOURCE,
        "schema": [key, *schema],
        **more,
    }
    return FeatureView(name=name, **given)


def service(name: str, *features: Any, default: bool = True) -> FeatureService:
    return FeatureService(name=name, features=list(features), tags={"default": "true"} if default else {})


def on_demand(name: str, *sources: Any) -> OnDemandFeatureView:
    def double(inputs: dict[str, list[int]]) -> dict[str, list[float]]:
        return {"twice": [2.0 * value for value in inputs["a"]]}

    decorate = on_demand_feature_view(
        name=name, sources=list(sources), schema=[Field(name="twice", dtype=Float64)], mode="python"
    )
    made: OnDemandFeatureView = decorate(double)
    return made


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    unreached = {"type": "postgres", "host": "nowhere", "database": "none", "user": "nobody", "password": "none"}
    return FeatureStore(
        config=RepoConfig(
            project="demo",
            provider="local",
            registry=str(tmp_path / "registry.db"),
            offline_store=unreached,
            online_store=None,
            entity_key_serialization_version=3,
        )
    )


def resolved(store: FeatureStore, *things: Thing) -> Definitions:
    """What the registry resolves to once it holds these."""
    for thing in (USER, *things):
        if isinstance(thing, Entity):
            store.registry.apply_entity(thing, store.project)
        elif isinstance(thing, FeatureService):
            store.registry.apply_feature_service(thing, store.project)
        else:
            store.registry.apply_feature_view(thing, store.project)
    return resolve(store)


def refusal(store: FeatureStore, *things: Thing) -> str:
    with pytest.raises(UsageError) as refused:
        resolved(store, *things)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_no_default_service_is_refused(store: FeatureStore) -> None:
    sentence = refusal(store, view(), service("s", view(), default=False))
    assert 'exactly one feature service must be tagged default: "true"' in sentence
    assert sentence.endswith("found none")


def test_two_default_services_are_refused_naming_both(store: FeatureStore) -> None:
    assert refusal(store, view(), service("s", view()), service("t", view())).endswith("found s, t")


def test_a_type_that_cannot_be_served_is_refused_naming_the_feature(store: FeatureStore) -> None:
    odd = view(schema=[Field(name="settings", dtype=Map)])
    sentence = refusal(store, odd, service("s", odd))
    assert sentence.startswith("feature profile:settings has type MAP; types that can be served are BOOL, BOOL_LIST")


def test_a_join_key_type_that_feast_cannot_look_up_is_refused(store: FeatureStore) -> None:
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.FLOAT)
    schema = [Field(name="user_id", dtype=Float32), *A_AND_FEE]
    odd = FeatureView(name="profile", entities=[user], source=SOURCE, schema=schema)
    sentence = refusal(store, user, odd, service("s", odd))
    assert sentence.startswith(
        "join key user_id of feature view profile has type FLOAT; Feast can look up BYTES, INT32"
    )


def test_one_join_key_of_two_types_is_refused_naming_both_views_and_types(store: FeatureStore) -> None:
    number = Entity(name="number", join_keys=["user_id"], value_type=ValueType.INT64)
    other = FeatureView(
        name="usage", entities=[number], source=SOURCE, schema=[Field(name="user_id", dtype=Int64), *A_AND_FEE]
    )
    assert refusal(store, number, view(), view("by"), other, service("s", view())) == (
        "join key user_id has types that differ by feature view: STRING in by, profile and INT64 in usage; give it one"
    )


@pytest.mark.parametrize("online", [True, False])
def test_a_view_whose_entity_feast_has_not_collected_is_refused_rather_than_served_without_a_key(
    store: FeatureStore, online: bool
) -> None:
    lost = Entity(name="lost", join_keys=["lost_id"], value_type=ValueType.STRING)
    keyless = FeatureView(name="keyless", entities=[lost], source=SOURCE, schema=list(A_AND_FEE), online=online)
    assert refusal(store, view(), keyless, service("s", view())).startswith(
        "feature view keyless has entity lost, which Feast has not collected; put it at the top of a module"
    )


def test_a_view_of_which_feast_does_not_find_a_join_key_is_refused(store: FeatureStore) -> None:
    keyless = view("keyless")
    keyless.entity_columns = []  # as where the key's column is mapped and has no Field
    assert refusal(store, view(), keyless, service("s", view())).startswith(
        "feature view keyless has entities with join keys user_id, of which Feast finds none; put a Field of each"
    )


def test_all_that_is_wrong_is_named_at_once_and_what_follows_from_it_is_not(store: FeatureStore) -> None:
    odd = view("odd", [Field(name="x", dtype=Map), Field(name="y", dtype=Map)])
    renamed = view().with_join_key_map({"user_id": "friend_id"})
    with pytest.raises(RefusedError) as refused:
        resolved(store, view(), odd, service("s", odd, default=False), service("t", renamed, default=False))
    sentences = [finding.sentence.split(";")[0] for finding in refused.value.findings]
    assert sentences == [
        "feature odd:x has type MAP",
        "feature odd:y has type MAP",
        "feature service t renames the join keys of profile, which cannot be served",
        'exactly one feature service must be tagged default: "true", the one that a call without a name gets',
    ]


def test_a_service_that_renames_join_keys_is_refused(store: FeatureStore) -> None:
    renamed = view().with_join_key_map({"user_id": "friend_id"})
    assert refusal(store, view(), service("s", renamed)).startswith(
        "feature service s renames the join keys of profile, which cannot be served"
    )


def test_an_on_demand_view_that_takes_request_data_is_refused(store: FeatureStore) -> None:
    request = RequestSource(name="basket", schema=[Field(name="a", dtype=Int64)])
    assert refusal(store, view(), on_demand("od", view()[["fee"]], request), service("s", view())).startswith(
        "on-demand feature view od takes request data, which cannot be served"
    )


def test_a_service_over_a_view_that_is_not_online_is_refused(store: FeatureStore) -> None:
    offline = view(online=False)
    assert "feature service s uses feature view profile, which is not online" in refusal(
        store, offline, service("s", offline)
    )


def test_an_on_demand_view_over_a_view_that_is_not_online_is_refused(store: FeatureStore) -> None:
    offline = view("hidden", online=False)
    assert "on-demand feature view od uses feature view hidden, which is not online" in refusal(
        store, view(), offline, on_demand("od", offline), service("s", view())
    )


def test_two_features_of_one_name_in_a_service_are_refused(store: FeatureStore) -> None:
    other = view("other", [Field(name="a", dtype=Int64)])
    assert "feature service s has two features named a, of profile and of other" in refusal(
        store, view(), other, service("s", view(), other)
    )


def test_a_service_without_features_is_refused(store: FeatureStore) -> None:
    assert "feature service t has no features" in refusal(
        store, view(), service("s", view()), service("t", default=False)
    )


def test_a_view_knows_its_table_columns_keys_and_types(store: FeatureStore) -> None:
    (found,) = resolved(store, view(), service("s", view())).views
    assert (found.relation, found.source) == ("user_snapshots", "snapshots")
    assert (found.as_of_column, found.created_at_column, found.tombstone_column) == ("as_of", "created_at", "gone")
    assert found.join_keys == (JoinKey("user_id", "user_id", "STRING"),)
    assert found.features == (Feature("a", "a", "INT64", "the first", {}), Feature("fee", "fee_usd", "DOUBLE", "", {}))
    assert found.ttl == timedelta(days=45)


def test_time_columns_that_are_named_by_their_mapped_names_are_the_sources_columns(store: FeatureStore) -> None:
    mapping = {"snapshot_day": "as_of", "learned": "created_at"}
    source = PostgreSQLSource(
        name="s", table="t", timestamp_field="as_of", created_timestamp_column="created_at", field_mapping=mapping
    )
    (found,) = resolved(store, view(source=source), service("s", view(source=source))).views
    assert (found.as_of_column, found.created_at_column) == ("snapshot_day", "learned")


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_no_ttl_means_for_ever(store: FeatureStore, ttl: timedelta | None) -> None:
    (found,) = resolved(store, view(ttl=ttl), service("s", view(ttl=ttl))).views
    assert found.ttl is None


def test_a_view_without_entities_has_no_join_keys(store: FeatureStore) -> None:
    world = FeatureView(name="world", entities=[], source=SOURCE, schema=[Field(name="a", dtype=Int64)])
    world.entity_columns = [Field(name="__dummy_id", dtype=String)]  # as Feast infers it at apply
    (found,) = resolved(store, world, service("s", world)).views
    assert found.join_keys == ()


@pytest.mark.parametrize("dtype", [Int64, Float64, String, Array(String), Array(Int64)])
def test_scalars_and_lists_can_be_served(store: FeatureStore, dtype: PrimitiveFeastType | Array) -> None:
    plain = view(schema=[Field(name="x", dtype=dtype)])
    (found,) = resolved(store, plain, service("s", plain)).views
    assert found.feature_types == {"x": dtype.to_value_type().name}


def test_a_service_keeps_its_order_and_names_each_feature_in_full(store: FeatureStore) -> None:
    usage = view("usage", [Field(name="hours", dtype=Float64)])
    (found,) = resolved(store, view(), usage, service("s", usage, view()[["fee"]])).services
    assert found.features == (
        ServiceFeature("hours", "usage__hours", "usage", "hours"),
        ServiceFeature("fee", "profile__fee", "profile", "fee"),
    )


def test_an_on_demand_view_knows_the_features_it_is_computed_from(store: FeatureStore) -> None:
    (found,) = resolved(store, view(), on_demand("od", view()[["a"]]), service("s", view())).on_demand_views
    assert found.inputs == ("profile:a",)
    assert [(feature.name, feature.type) for feature in found.features] == [("twice", "DOUBLE")]


def test_a_service_that_lists_a_feature_twice_is_refused(store: FeatureStore) -> None:
    for twice in ([view(), view()], [view()[["a"]], view()], [view()[["a", "a"]]]):
        sentence = "feature service s lists feature profile:a more than once; list it once"
        assert sentence in refusal(store, view(), service("s", *twice))


def test_a_service_may_list_a_view_in_parts(store: FeatureStore) -> None:
    (found,) = resolved(store, view(), service("s", view()[["fee"]], view()[["a"]])).services
    assert [feature.full_name for feature in found.features] == ["profile__fee", "profile__a"]


def test_a_service_may_call_a_view_by_two_names(store: FeatureStore) -> None:
    parts = view().with_name("x")[["fee"]], view().with_name("y")[["a"]]
    (found,) = resolved(store, view(), service("s", *parts)).services
    assert [feature.full_name for feature in found.features] == ["x__fee", "y__a"]


def test_two_features_with_one_full_name_are_refused(store: FeatureStore) -> None:
    one, other = view("p", [Field(name="q__a", dtype=Int64)]), view("p__q", [Field(name="a", dtype=Int64)])
    assert refusal(store, one, other, service("s", one, other)) == (
        "feature service s has two features with the full name p__q__a, p:q__a and p__q:a; rename one"
    )


def test_one_name_for_two_views_in_a_service_is_refused(store: FeatureStore) -> None:
    other = view("other", [Field(name="b", dtype=Int64)])
    assert refusal(store, view(), other, service("s", view(), other.with_name("profile"))) == (
        "feature service s calls both profile and other profile; give each a name of its own"
    )


@pytest.mark.parametrize("alias", ["x:y", "x@v2"])
def test_a_name_that_feast_takes_for_a_reference_is_refused(store: FeatureStore, alias: str) -> None:
    assert refusal(store, view(), service("s", view().with_name(alias))) == (
        f"feature service s calls feature view profile {alias}; take : and @ out of that name"
    )


def test_a_feature_named_like_a_join_key_of_its_service_is_refused(store: FeatureStore) -> None:
    film = Entity(name="film", join_keys=["film_id"], value_type=ValueType.STRING)
    films = FeatureView(
        name="films", entities=[film], source=SOURCE,
        schema=[Field(name="film_id", dtype=String), Field(name="user_id", dtype=String)],
    )  # fmt: skip
    assert refusal(store, film, films, view(), service("s", films, view())) == (
        "feature service s has a feature and a join key named user_id; rename one"
    )
    assert resolved(store, service("s", view()))


def test_a_join_key_of_two_types_in_one_service_or_on_demand_view_is_refused(store: FeatureStore) -> None:
    number = Entity(name="number", join_keys=["user_id"], value_type=ValueType.INT64)
    other = FeatureView(
        name="other", entities=[number], source=SOURCE,
        schema=[Field(name="user_id", dtype=Int64), Field(name="b", dtype=Int64)],
    )  # fmt: skip
    refused = (
        "join key user_id has types that differ by feature view: INT64 in other and STRING in profile; give it one"
    )
    assert refusal(store, number, view(), other, service("s", view(), other)) == refused
    assert refusal(store, on_demand("od", view()[["a"]], other), service("s", view())) == refused


@pytest.mark.parametrize("name", ["features", "found", "metadata"])
def test_a_join_key_named_like_a_part_of_the_gateways_answers_is_refused(store: FeatureStore, name: str) -> None:
    thing = Entity(name="thing", join_keys=[name], value_type=ValueType.STRING)
    odd = FeatureView(name="odd", entities=[thing], source=SOURCE, schema=[Field(name=name, dtype=String), *A_AND_FEE])
    assert refusal(store, thing, odd, service("s", odd)).startswith(
        f"join key {name} of feature view odd is named like a part of the gateway's answers"
    )


def test_two_features_of_an_entity_that_feast_keeps_in_one_field_are_refused(store: FeatureStore) -> None:
    one, other = (view(name, [Field(name=feature, dtype=Int64)]) for name, feature in COLLIDING)
    assert feature_field(*COLLIDING[0]) == feature_field(*COLLIDING[1])
    sentence = refusal(store, one, other, service("s", one))
    assert sentence.startswith("features profile:f5386 and usage:f14061 have the same field in Redis")
    world = FeatureView(name="usage", entities=[], source=SOURCE, schema=other.schema)
    world.entity_columns = [Field(name="__dummy_id", dtype=String)]  # as Feast infers it at apply
    assert resolved(store, world), "another entity's hash is another one"


@pytest.mark.parametrize("ttl", [timedelta(seconds=-1), timedelta(days=365_001), timedelta.max])
def test_a_ttl_that_no_part_could_keep_is_refused(store: FeatureStore, ttl: timedelta) -> None:
    odd = view(ttl=ttl)
    assert refusal(store, odd, service("s", odd)).startswith(f"feature view profile has the ttl {ttl}; write one of")


def test_a_feature_without_a_name_and_two_of_one_name_are_refused(store: FeatureStore) -> None:
    nameless = view(schema=[Field(name="", dtype=Int64)])
    assert refusal(store, nameless, service("s", nameless)).startswith("feature view profile has a feature without a")
    doubled = view(schema=[Field(name="a", dtype=Int64), Field(name="a", dtype=Float64)])
    assert refusal(store, doubled, service("s", view()[["fee"]])) == (
        "feature view profile has two features named a; rename one"
    )


def test_text_that_postgres_cannot_keep_is_refused(store: FeatureStore) -> None:
    for odd in (view(description="a\0b"), view(tags={"a\0": "b"}), view(owner="\0")):
        assert refusal(store, odd, service("s", view())).startswith("'profile' has the character NUL in a text")

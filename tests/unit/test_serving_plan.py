"""The serving plan: what it says, when it is filled, and that equal definitions give equal bytes."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobs.definitions import Definitions, Feature, JoinKey, OnDemandView, Service, ServiceFeature, SnapshotView
from jobs.online.serving_plan import ServingPlan, build_plan
from jobs.online.status import ViewStatus

NOW = datetime(2024, 1, 31, tzinfo=UTC)


def feature(name: str, kind: str = "INT64", **tags: str) -> Feature:
    return Feature(name, name, kind, f"about {name}", tags)


def view(name: str, *features: Feature, ttl: timedelta | None = timedelta(days=45)) -> SnapshotView:
    return SnapshotView(
        name=name, join_keys=(JoinKey("user_id", "user_id", "STRING"),), relation=f"{name}_table",
        source=f"{name}_table", as_of_column="as_of", created_at_column="created_at", tombstone_column=None, ttl=ttl,
        features=features, description="für alle", owner="team@example.org", tags={"tier": "1"},
    )  # fmt: skip


def service(name: str, *references: str) -> Service:
    pairs = [reference.split(":") for reference in references]
    features = tuple(ServiceFeature(item, f"{view}__{item}", view, item) for view, item in pairs)
    return Service(name, features, "", "", {})


PROFILE, USAGE = view("profile", feature("a"), feature("fee", "DOUBLE")), view("usage", feature("hours", "DOUBLE"))
RATIO = OnDemandView("ratio", (feature("fee_per_hour", "DOUBLE"),), ("profile:fee", "usage:hours"), "", "", {})
DEFINITIONS = Definitions(
    project="demo",
    views=(PROFILE, USAGE),
    on_demand_views=(RATIO,),
    services=(service("small", "profile:a"), service("wide", "profile:a", "ratio:fee_per_hour")),
    default_service="small",
)
PLAN = build_plan(DEFINITIONS)


def status(**views: dict[str, str]) -> dict[str, ViewStatus]:
    """Views whose last materialization filled these features."""
    return {name: ViewStatus(NOW, 1, NOW, NOW, features) for name, features in views.items()}


@pytest.mark.parametrize(
    ("filled", "missing"),
    [
        (status(), ["profile", "usage"]),
        (status(profile={"a": "INT64", "fee": "DOUBLE"}), ["usage"]),
        (status(profile={"a": "INT64"}, usage={"hours": "DOUBLE"}), ["profile"]),
        (status(profile={"a": "STRING", "fee": "DOUBLE"}, usage={"hours": "DOUBLE"}), ["profile"]),
    ],
)
def test_a_view_that_lacks_a_needed_feature_is_unfilled_also_as_an_on_demand_input(
    filled: dict[str, ViewStatus], missing: list[str]
) -> None:
    assert PLAN.unfilled_views(filled) == missing


def test_nothing_is_unfilled_when_every_needed_feature_was_written_with_its_type() -> None:
    more = {"a": "INT64", "fee": "DOUBLE", "unused": "STRING"}
    assert PLAN.unfilled_views(status(profile=more, usage={"hours": "DOUBLE"})) == []


def test_a_feature_that_no_service_reads_need_not_be_filled() -> None:
    narrow = build_plan(replace(DEFINITIONS, on_demand_views=(), services=(service("small", "profile:a"),)))
    assert narrow.unfilled_views(status(profile={"a": "INT64"})) == []


def test_a_plan_serves_as_soon_as_one_service_has_all_it_reads() -> None:
    assert not PLAN.serves(status())
    assert not PLAN.serves(status(usage={"hours": "DOUBLE"}))
    assert PLAN.serves(status(profile={"a": "INT64"}))


def test_what_a_plan_reads_includes_the_inputs_of_on_demand_features() -> None:
    assert PLAN.reads() == {("profile", "a"), ("profile", "fee"), ("usage", "hours")}


def test_equal_definitions_give_equal_bytes_and_a_difference_gives_another_version() -> None:
    again = build_plan(replace(DEFINITIONS, views=(view("profile", *PROFILE.features), view("usage", *USAGE.features))))
    assert (again.text, again.version) == (PLAN.text, PLAN.version)
    backwards = build_plan(replace(DEFINITIONS, views=(USAGE, PROFILE), services=DEFINITIONS.services[::-1]))
    assert backwards.text == PLAN.text, "the order in which views and services are listed says nothing"
    other_ttl = build_plan(replace(DEFINITIONS, views=(replace(PROFILE, ttl=None), USAGE)))
    assert other_ttl.version != PLAN.version


def test_the_text_is_sorted_utf8_json_without_spaces_and_the_version_its_sha256() -> None:
    canonical = json.dumps(json.loads(PLAN.text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert PLAN.text == canonical.encode()
    assert "für alle".encode() in PLAN.text
    assert PLAN.version == hashlib.sha256(PLAN.text).hexdigest() == ServingPlan(PLAN.text).version


def test_the_plan_says_what_the_gateway_needs() -> None:
    plan = json.loads(PLAN.text)
    assert (plan["format"], plan["project"], plan["default_feature_service"]) == (1, "demo", "small")
    profile = plan["feature_views"]["profile"]
    assert profile["join_keys"] == [{"name": "user_id", "type": "STRING"}]
    assert profile["ttl_seconds"] == 3888000
    assert bytes.fromhex(profile["timestamp_field"]) == b"_ts:profile"
    assert {key: profile[key] for key in ("owner", "source", "tags")} == {
        "owner": "team@example.org", "source": "profile_table", "tags": {"tier": "1"},
    }  # fmt: skip
    assert plan["on_demand_feature_views"]["ratio"]["inputs"] == ["profile:fee", "usage:hours"]
    assert [item["full_name"] for item in plan["feature_services"]["wide"]["features"]] == [
        "profile__a", "ratio__fee_per_hour",
    ]  # fmt: skip


def test_a_feature_is_read_from_the_field_that_feast_writes() -> None:
    golden = build_plan(
        replace(DEFINITIONS, views=(view("user_stats", feature("a")),), on_demand_views=(), services=())
    )
    entry = json.loads(golden.text)["feature_views"]["user_stats"]["features"]["a"]
    assert entry == {"field": "1cf505c4", "type": "INT64", "description": "about a", "tags": {}}


def test_a_view_without_ttl_says_null() -> None:
    plan = build_plan(replace(DEFINITIONS, views=(replace(PROFILE, ttl=None), USAGE)))
    assert json.loads(plan.text)["feature_views"]["profile"]["ttl_seconds"] is None


@pytest.mark.parametrize("ttl", [timedelta(seconds=0.5), timedelta(days=1, microseconds=1)])
def test_a_ttl_keeps_its_fraction_of_a_second(ttl: timedelta) -> None:
    plan = build_plan(replace(DEFINITIONS, views=(replace(PROFILE, ttl=ttl), USAGE)))
    assert json.loads(plan.text)["feature_views"]["profile"]["ttl_seconds"] == ttl.total_seconds()


def changed(**parts: object) -> ServingPlan:
    """A plan in which these parts are of somebody else's making."""
    return ServingPlan(json.dumps(json.loads(PLAN.text) | parts).encode())


@pytest.mark.parametrize(
    "plan",
    [
        *map(ServingPlan, (b"", b"{", b"\xff", b"[]", b"null", b"{}")),
        changed(format=2), changed(feature_services=[]), changed(feature_services=None), changed(feature_views={}),
        changed(feature_services={"small": None}), changed(feature_services={"small": {"features": [7]}}),
    ],
)  # fmt: skip
def test_what_no_gateway_can_serve_by_serves_and_reads_nothing(plan: ServingPlan) -> None:
    whole = status(profile={"a": "INT64", "fee": "DOUBLE"}, usage={"hours": "DOUBLE"})
    assert not plan.serves(whole)
    assert plan.reads() == set()


def test_a_broken_service_does_not_hide_what_the_others_of_its_plan_serve() -> None:
    services = json.loads(PLAN.text)["feature_services"]
    plan = changed(feature_services=services | {"broken": {"features": [{"feature_view": "none", "feature": "x"}]}})
    assert plan.serves(status(profile={"a": "INT64"}))
    assert plan.reads() == PLAN.reads()

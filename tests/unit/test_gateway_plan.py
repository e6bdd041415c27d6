"""Plans: what is served by, and what is rejected with its reason."""

import hashlib
import json
from typing import Any

import pytest

from api import docs_page, instants, openapi, routes, status_page
from api.plan_reading import PlanRejected, parse
from api.problems import InvalidRequest, NotServable
from api.selection import Selector
from tests import gateway_support as support
from tests.gateway_support import parsed


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    part = document
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return document


def test_a_whole_plan_is_taken() -> None:
    assert parsed(support.plan()).default_feature_service == "main"


def test_a_plan_may_hold_more_than_this_release_knows() -> None:
    assert parsed(support.plan(news="x")) == parsed(support.plan())


def test_a_plan_whose_version_is_not_the_hash_of_its_bytes_is_rejected() -> None:
    with pytest.raises(PlanRejected, match="SHA-256"):
        parse(json.dumps(support.plan()).encode(), "0" * 64, support.PROJECT)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (support.plan(format=2), "format"),
        (support.plan(project="other"), "project 'other'"),
        (support.plan(feature_services={}), "feature_services"),
        (support.plan(feature_services=["main"]), "feature_services"),
        (support.plan(feature_views={}), "'main': it names feature 'profile:months_active', which no feature view has"),
        (
            support.plan(feature_services={"main": support.service("profile:no")}),
            "'main': it names feature 'profile:no'",
        ),
        (
            support.plan(feature_services={"main": support.service("usage:devices", "usage:devices")}),
            "'main': it names 'devices' more than once",
        ),
    ],
)
def test_a_plan_that_cannot_be_served_by_is_rejected_with_the_reason(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanRejected, match=reason) as rejected:
        parsed(document)
    assert "\n" not in str(rejected.value)


def with_view(name: str, **more: Any) -> dict[str, Any]:
    """The plan, but one view of it has these parts."""
    document = support.plan()
    document["feature_views"][name] |= more
    return document


def with_service(**service: Any) -> dict[str, Any]:
    """The plan, but its service `pairs` has these parts."""
    document = support.plan()
    document["feature_services"]["pairs"] |= service
    return document


def with_two_of_one_field() -> dict[str, Any]:
    document = support.plan()
    features = {name: document["feature_views"][name]["features"] for name in ("profile", "usage")}
    features["usage"]["devices"]["field"] = features["profile"]["net_service"]["field"]
    return document


TWICE = support.service("profile:months_active", "profile:months_active")["features"]
ONE_FULL_NAME = [
    item | {"full_name": "f"} for item in support.service("profile:months_active", "pair:score")["features"]
]
KEY = {"name": "user_id", "type": "STRING"}


@pytest.mark.parametrize(
    ("document", "lost", "reason"),
    [
        (without(support.plan(), "feature_views", "usage"), {"main", "computed"}, "'usage:watch_hours', which no"),
        (with_view("usage", ttl_seconds=0), {"main", "computed"}, "feature view 'usage' is broken: ttl_seconds"),
        (with_view("usage", ttl_seconds=1e300), {"main", "computed"}, "ttl_seconds"),
        (with_view("usage", ttl_seconds=float("nan")), {"main", "computed"}, "ttl_seconds"),
        (without(support.plan(), "feature_views", "usage", "ttl_seconds"), {"main", "computed"}, "ttl_seconds"),
        (with_view("pair", timestamp_field="xyz"), {"pairs"}, "timestamp_field: must be bytes in hex"),
        (with_view("pair", timestamp_field=7), {"pairs"}, "timestamp_field: must be bytes in hex"),
        (with_view("pair", join_keys=[{"name": "k", "type": "MAP"}]), {"pairs"}, "join_keys.0.type"),
        (with_view("pair", join_keys=[{"name": "", "type": "INT64"}]), {"pairs"}, "join_keys.0.name"),
        (with_view("pair", join_keys=[{"name": "found", "type": "INT64"}]), {"pairs"}, "parts of answers"),
        (with_view("pair", join_keys=[KEY | {"type": "INT64"}]), {"pairs"}, "'user_id' is STRING in one feature view"),
        (with_view("usage", join_keys=[KEY | {"type": "INT64"}]), {"main", "computed"}, "and INT64 in another"),
        (with_view("pair", features={"score": {"field": "00"}}), {"pairs"}, "feature 'pair:score' is broken: type"),
        (with_view("pair", features={"score": None}), {"pairs"}, "feature 'pair:score' is broken"),
        (with_view("pair", features=[]), {"pairs"}, "feature view 'pair' is broken: features"),
        (without(support.plan(), "feature_views", "usage", "features", "devices"), {"main", "computed"}, "devices"),
        (with_two_of_one_field(), {"main", "computed"}, "have the same field in Redis"),
        (support.plan(on_demand_feature_views={"ratio": None}), {"computed"}, "feature view 'ratio' is broken"),
        (support.plan(on_demand_feature_views=None), {"computed"}, "'ratio:hours_per_device', which no"),
        (with_service(features=TWICE), {"pairs"}, "names 'months_active' more than once"),
        (with_service(features=ONE_FULL_NAME), {"pairs"}, "names 'f' more than once"),
        (with_service(features=[]), {"pairs"}, "features"),
        (with_service(tags=[]), {"pairs"}, "tags"),
        (support.plan(default_feature_service="none"), {"none"}, "it is not in the serving plan"),
    ],
)
def test_what_is_broken_takes_down_the_services_that_need_it_with_the_reason_and_no_other(
    document: dict[str, Any], lost: set[str], reason: str
) -> None:
    plan = parsed(document)
    assert plan.problems.keys() == lost
    assert set(Selector(plan).services) == support.plan()["feature_services"].keys() - lost
    for problem in plan.problems.values():
        assert reason in problem
        assert "\n" not in problem


def test_a_service_that_cannot_be_served_is_refused_with_the_reason_and_so_is_a_broken_feature() -> None:
    document = with_view("profile", features={"months_active": {"field": "00", "type": "INT64"}, "monthly_fee": None})
    selector = Selector(parsed(document))
    assert set(selector.services) == {"global", "pairs", "computed"}
    for service, features in [("main", None), (None, None), (None, ["devices"]), ("main", ["usage:devices"])]:
        with pytest.raises(NotServable, match="'main' cannot be served: feature 'profile:monthly_fee' is broken"):
            selector.resolve(service, features)
    with pytest.raises(NotServable, match="'profile:monthly_fee' cannot be served: feature 'profile:monthly_fee' is"):
        selector.resolve(None, ["profile:monthly_fee"])
    assert [asked.name for asked in selector.resolve(None, ["usage:devices"]).asked] == ["devices"]
    assert [asked.name for asked in selector.resolve("pairs", ["months_active"]).asked] == ["months_active"]


def test_features_whose_join_key_is_of_two_types_are_refused_together() -> None:
    selector = Selector(parsed(with_view("pair", join_keys=[KEY | {"type": "INT64"}])))
    with pytest.raises(InvalidRequest, match="cannot be read together: join key 'user_id' is STRING"):
        selector.resolve(None, ["usage:devices", "pair:score"])
    assert selector.resolve(None, ["pair:score"]).join_keys[0].type == "INT64"


@pytest.mark.parametrize("default", [None, 7])
def test_without_a_default_service_a_call_has_to_name_one(default: object) -> None:
    selector = Selector(parsed(support.plan(default_feature_service=default)))
    assert not selector.plan.problems
    with pytest.raises(InvalidRequest, match="no default feature service; name one in feature_service"):
        selector.resolve(None, None)
    assert selector.resolve("main", None).asked


def test_openapi_shows_a_service_that_can_be_served_where_the_default_one_cannot() -> None:
    document = openapi.document(Selector(parsed(support.plan(default_feature_service="none"))))
    _, parameter, *_ = document["paths"]["/features/{user_id}"]["get"]["parameters"]
    assert parameter["description"].startswith("Default: none.")
    assert parameter["example"] in parameter["schema"]["enum"] == ["computed", "main"], "those with one join key"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_bytes_that_are_no_plan_are_rejected(data: bytes) -> None:
    with pytest.raises(PlanRejected):
        parse(data, hashlib.sha256(data).hexdigest(), support.PROJECT)


@pytest.fixture
def selector() -> Selector:
    return Selector(parsed(support.plan()))


def test_a_selection_reads_one_hash_for_all_views_with_the_same_join_keys(selector: Selector) -> None:
    assert [len(group.names) for group in selector.services["main"].groups] == [8]
    assert [key.name for key in selector.services["pairs"].join_keys] == ["film", "user_id"]
    assert len(selector.services["pairs"].groups) == 2


def test_a_selection_reads_the_inputs_of_on_demand_features(selector: Selector) -> None:
    assert selector.services["computed"].views == ("profile", "usage")


def test_names_come_from_the_service_and_references_from_any_view(selector: Selector) -> None:
    selection = selector.resolve("main", ["devices", "pair:score"])
    assert [asked.reference for asked in selection.asked] == ["usage:devices", "pair:score"]


@pytest.mark.parametrize(
    ("service", "features", "complaint"),
    [
        ("none", None, "'none' is unknown; the known ones are computed, global, main, pairs"),
        (None, [], "at least one"),
        (None, [""], "'' is not in"),
        (None, ["score"], "'score' is not in feature service 'main'"),
        (None, ["pair:none"], "'pair:none' is unknown"),
        (None, ["none:score"], "'none:score' is unknown"),
        (None, ["devices", "usage:devices"], "'devices' more than once"),
    ],
)
def test_unknown_and_repeated_features_are_refused(
    selector: Selector, service: str | None, features: list[str] | None, complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        selector.resolve(service, features)


def test_openapi_names_the_join_key_and_the_features_of_the_plan(selector: Selector) -> None:
    document = openapi.document(selector)
    [key, *_] = document["paths"]["/features/{user_id}"]["get"]["parameters"]
    assert (key["name"], key["schema"]) == ("user_id", {"type": "string", "minLength": 1, "maxLength": 1024})
    example = document["paths"]["/features/{user_id}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert set(example["example"]["features"]) == {asked.name for asked in selector.services["main"].asked}


PAGES = {status_page.PATH, docs_page.PATH, *docs_page.FILES}


@pytest.mark.parametrize("with_plan", [True, False])
def test_openapi_describes_every_call_with_its_problems(selector: Selector, with_plan: bool) -> None:
    document = openapi.document(selector if with_plan else None)
    key = "user_id" if with_plan else "id"
    described = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    calls = [(method, path) for method, path, _ in (*routes.READS, *routes.ROUTES) if path not in PAGES]
    assert described == {(method, path.replace("{id}", f"{{{key}}}")) for method, path in calls}
    for methods in document["paths"].values():
        for call in methods.values():
            assert call["summary"]
            assert "200" in call["responses"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("45d", 3888000), ("2w", 1209600), ("0s", 0)]
)
def test_durations_are_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert instants.duration(text) == seconds * instants.SECOND


@pytest.mark.parametrize("text", ["", "45", "d", "-1d", "1.5d", "45D", "P45D", "1d1h", " 1d", "٣d", "9" * 10 + "d"])
def test_other_durations_are_none(text: str) -> None:
    assert instants.duration(text) is None


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500Z"),
        (1_000_001_000, "1970-01-01T00:00:01.000001Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        (-1_000_000_000, "1969-12-31T23:59:59Z"),
    ],
)
def test_instants_are_written_as_feast_writes_them(instant: int, text: str) -> None:
    assert instants.to_text(instant) == text

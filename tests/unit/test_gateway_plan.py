"""Plans: what is served by, and what is rejected with its reason."""

import hashlib
import json
from typing import Any

import pytest

from api import instants, openapi, routes, status_page
from api.plan import Plan, PlanRejected, parse
from api.problems import InvalidRequest
from api.selection import Selector
from tests import gateway_support as support


def parsed(document: dict[str, Any], project: str = support.PROJECT) -> Plan:
    data = json.dumps(document).encode()
    return parse(data, hashlib.sha256(data).hexdigest(), project)


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    part = document
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return document


def test_a_whole_plan_is_taken() -> None:
    assert parsed(support.plan()).default_feature_service == "main"


def test_a_plan_may_hold_more_than_this_release_knows() -> None:
    assert parsed(support.plan(news="x")).format == 1


def test_a_plan_whose_version_is_not_the_hash_of_its_bytes_is_rejected() -> None:
    with pytest.raises(PlanRejected, match="SHA-256"):
        parse(json.dumps(support.plan()).encode(), "0" * 64, support.PROJECT)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (support.plan(format=2), "format"),
        (support.plan(project="other"), "project 'other'"),
        (support.plan(default_feature_service="none"), "default feature service 'none'"),
        (support.plan(feature_services={}), "feature_services"),
        (without(support.plan(), "feature_views", "usage"), "names 'watch_hours'"),
        (without(support.plan(), "feature_views", "usage", "ttl_seconds"), "ttl_seconds"),
        (without(support.plan(), "feature_views", "usage", "features", "devices"), "devices"),
        (support.plan(feature_services={"main": support.service("profile:no")}), "names 'no'"),
        (
            support.plan(feature_services={"main": support.service("usage:devices", "usage:devices")}),
            "names a feature twice",
        ),
        (support.plan(feature_views={"v": support.view("v", {}, {"k": "MAP"})}), "join_keys"),
        (support.plan(feature_views={"v": support.view("v", {}, timestamp_field="xyz")}), "timestamp_field"),
        (support.plan(feature_views={"v": support.view("v", {}, ttl_seconds=0)}), "ttl_seconds"),
    ],
)
def test_a_plan_that_cannot_be_served_by_is_rejected_with_the_reason(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanRejected, match=reason) as rejected:
        parsed(document)
    assert "\n" not in str(rejected.value)


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
    assert (key["name"], key["schema"]) == ("user_id", {"type": "string"})
    example = document["paths"]["/features/{user_id}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert set(example["example"]["features"]) == {asked.name for asked in selector.services["main"].asked}


@pytest.mark.parametrize("with_plan", [True, False])
def test_openapi_describes_every_call_with_its_problems(selector: Selector, with_plan: bool) -> None:
    document = openapi.document(selector if with_plan else None)
    key = "user_id" if with_plan else "id"
    described = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    calls = [(method, path) for method, path, _ in (*routes.READS, *routes.ROUTES) if path != status_page.PATH]
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

"""The serving plan: what `apply` accepts, every gateway serves whole; what a gateway refuses, `apply` refuses."""

import json
from datetime import timedelta

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from api import answers, openapi
from api.plan import Plan
from api.plan_reading import PlanRejected, parse
from api.programs import can_compile
from api.selection import Selector
from jobs.definitions import Definitions, Feature, JoinKey, Service, ServiceFeature, SnapshotView
from jobs.online.encoding import feature_field, timestamp_field
from jobs.online.serving_plan import ServingPlan, build_plan
from tests.contract.definitions import accepted, definitions, servable_definitions

MICROSECOND = timedelta(microseconds=1)


def read(plan: ServingPlan) -> Plan:
    """What a gateway makes of the plan."""
    return parse(plan.text, plan.version, "demo")


@settings(deadline=None, max_examples=200)
@given(definitions() | servable_definitions())
def test_what_apply_accepts_the_gateway_serves_whole(found: Definitions) -> None:
    event(f"accepted: {accepted(found)}")
    try:
        plan = read(build_plan(found))
    except PlanRejected:
        assert not accepted(found)
        return
    assert set(plan.feature_services) | set(plan.problems) == {service.name for service in found.services}
    assert not accepted(found) or not plan.problems
    selector = Selector(plan)
    for service in found.services:
        if service.name in selector.services:
            asked = selector.services[service.name].asked
            assert [(item.name, item.full_name, item.view, item.feature) for item in asked] == [
                (item.name, item.full_name, item.feature_view, item.feature) for item in service.features
            ]


@settings(deadline=None)
@given(servable_definitions())
def test_the_gateway_reads_of_a_plan_what_the_definitions_say(found: Definitions) -> None:
    plan = read(build_plan(found))
    assert plan.default_feature_service == found.default_service
    assert list(plan.feature_views) == sorted(view.name for view in found.views)
    for view in found.views:
        seen = plan.feature_views[view.name]
        assert [(key.name, key.type) for key in seen.join_keys] == [(key.name, key.type) for key in view.join_keys]
        assert seen.timestamp_field == timestamp_field(view.name)
        assert (seen.source, seen.description, seen.owner, seen.tags) == (
            view.source, view.description, view.owner, view.tags,
        )  # fmt: skip
        assert {name: (feature.field, feature.type) for name, feature in seen.features.items()} == {
            feature.name: (feature_field(view.name, feature.name), feature.type) for feature in view.features
        }
        if view.ttl is not None:
            assert seen.ttl_seconds is not None
            assert abs(timedelta(seconds=seen.ttl_seconds) - view.ttl) <= 4 * MICROSECOND, "the precision of a double"
    for computed in found.on_demand_views:
        assert plan.on_demand_feature_views[computed.name].inputs == computed.inputs


@settings(deadline=None)
@given(servable_definitions())
def test_whatever_is_served_can_be_listed_described_compiled_and_documented(found: Definitions) -> None:
    selector = Selector(read(build_plan(found)))
    assert len(answers.services(selector)["feature_services"]) == len(found.services)
    for name, selection in selector.services.items():
        described = answers.service(selector, name)["features"]
        assert [feature["reference"] for feature in described] == [asked.reference for asked in selection.asked]
        assert can_compile(selection) in (True, False)
        if all(":" not in asked.name for asked in selection.asked):
            names = [asked.name for asked in selection.asked]
            assert [asked.name for asked in selector.resolve(name, names).asked] == names
        references = [asked.reference for asked in selection.asked]
        assert [asked.reference for asked in selector.resolve(None, references).asked] == references
    json.dumps(openapi.document(selector))


OBJECTS = ("feature_views", "on_demand_feature_views", "feature_services")
RUBBISH = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(servable_definitions(), st.data())
def test_one_broken_object_breaks_no_service_that_does_not_need_it(found: Definitions, data: st.DataObject) -> None:
    document = json.loads(build_plan(found).text)
    kind, name = data.draw(st.sampled_from([(kind, name) for kind in OBJECTS for name in document[kind]]))
    part = document[kind][name]
    if data.draw(st.booleans()):
        document[kind][name] = data.draw(RUBBISH)
    else:
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(RUBBISH)
    inputs = {view.name: {item.split(":")[0] for item in view.inputs} for view in found.on_demand_views}

    def needs(service: Service) -> set[str]:
        views = {item.feature_view for item in service.features}
        return views.union(*(inputs.get(view, set()) for view in views))

    spared = {
        service.name for service in found.services
        if (service.name != name if kind == "feature_services" else name not in needs(service))
    }  # fmt: skip
    try:
        plan = read(ServingPlan(json.dumps(document).encode()))
    except PlanRejected:
        assert not spared
        return
    assert spared <= set(Selector(plan).services)
    answers.services(Selector(plan))
    openapi.document(Selector(plan))


def view(name: str, features: int, ttl: timedelta | None = None) -> SnapshotView:
    named = tuple(Feature(f"{name}_{number}", "c", "INT64", "", {}) for number in range(features))
    keys = (JoinKey("user_id", "user_id", "STRING"),)
    return SnapshotView(name, keys, "t", "t", "as_of", None, None, ttl, named, "", "", {})


def test_two_thousand_features_are_served() -> None:
    views = tuple(view(name, 1000) for name in ("v", "w"))
    wanted = [(one.name, item.name) for one in views for item in one.features]
    service = Service("s", tuple(ServiceFeature(name, f"{of}__{name}", of, name) for of, name in wanted), "", "", {})
    found = Definitions("demo", views, (), (service,), "s")
    assert accepted(found)
    selection = Selector(read(build_plan(found))).services["s"]
    assert [len(group.names) for group in selection.groups] == [2002]


@pytest.mark.parametrize("ttl", [timedelta(microseconds=1), timedelta(seconds=0.5), timedelta(days=365_000)])
def test_any_ttl_that_apply_accepts_is_kept_to_the_microsecond(ttl: timedelta) -> None:
    one = view("v", 1, ttl)
    service = Service("s", (ServiceFeature("v_0", "v__v_0", "v", "v_0"),), "", "", {})
    found = Definitions("demo", (one,), (), (service,), "s")
    assert accepted(found)
    [asked] = Selector(read(build_plan(found))).services["s"].asked
    assert asked.sources[0].ttl == ttl // MICROSECOND * 1000


PLAN_OF_0_1_0 = (
    '{"default_feature_service":"main","feature_services":{"main":{"description":"","features":[{"feature":"a",'
    '"feature_view":"profile","full_name":"profile__a","name":"a"},{"feature":"r","feature_view":"ratio",'
    '"full_name":"ratio__r","name":"r"}],"owner":"","tags":{"default":"true"}}},"feature_views":{"profile":'
    '{"description":"","features":{"a":{"description":"","field":"1cf505c4","tags":{},"type":"INT64"}},"join_keys":'
    '[{"name":"user_id","type":"STRING"}],"owner":"","source":"t","tags":{},"timestamp_field":"5f74733a70726f66696c65",'
    '"ttl_seconds":3888000}},"format":1,"on_demand_feature_views":{"ratio":{"description":"","features":{"r":'
    '{"description":"","tags":{},"type":"DOUBLE"}},"inputs":["profile:a"],"owner":"","tags":{}}},"project":"demo"}'
)


def test_a_plan_that_0_1_0_published_is_served() -> None:
    assert set(Selector(read(ServingPlan(PLAN_OF_0_1_0.encode()))).services) == {"main"}

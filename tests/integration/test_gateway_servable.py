"""One broken object of a plan costs what needs it and nothing else, and everybody is told which and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from tests import gateway_support as support
from tests.gateway_support import GatewayProcess, refused

TWICE = "it names 'months_active' more than once"
BROKEN_VIEW = "feature view 'pair' is broken: ttl_seconds: Input should be greater than 0"


def broken_plan() -> dict[str, Any]:
    """The default service lists a view twice, as 0.1.0 published it; one view is broken, and one service needs it."""
    plan = support.plan()
    main = plan["feature_services"]["main"]["features"]
    plan["feature_services"]["main"]["features"] = [*main, *main]
    plan["feature_views"]["pair"]["ttl_seconds"] = 0
    plan["feature_services"]["usage"] = support.service("usage:devices")
    return plan


@pytest.fixture
def gateway(redis_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that started on that plan."""
    support.seed(redis_client)
    support.publish(redis_client, broken_plan())
    with support.gateway_process(tmp_path / "log") as started:
        started.wait_ready()
        yield started


def servable(gateway: GatewayProcess) -> dict[str, float]:
    families = text_string_to_metric_families(httpx.get(f"{gateway.metrics_url}/metrics").text)
    name = "feature_gateway_feature_service_servable"
    return {
        sample.labels["feature_service"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def log_of(gateway: GatewayProcess) -> list[tuple[str, str, str]]:
    return [
        (entry["version"], entry["feature_service"], entry["reason"])
        for entry in gateway.events()
        if entry["event"] == "feature_service_not_servable"
    ]


def test_all_other_services_of_the_plan_are_served(gateway: GatewayProcess) -> None:
    assert gateway.http.get("/features/u1?feature_service=usage").json()["features"] == {"devices": 2}
    assert gateway.http.get("/features/u1?features=usage:devices").json()["features"] == {"devices": 2}
    found = gateway.http.post("/features", json={"entities": {"user_id": ["u1"]}, "feature_service": "usage"})
    assert found.json()["results"][0]["features"] == {"devices": 2}
    feast = {"entities": {"user_id": ["u1"]}, "features": ["profile:months_active"]}
    assert gateway.http.post("/get-online-features", json=feast).json()["results"][1]["values"] == [1]


def test_whoever_asks_for_what_is_broken_is_told_the_reason(gateway: GatewayProcess) -> None:
    user, pair = {"user_id": ["u1"]}, {"user_id": ["u1"], "film": [1]}
    main, view = f"Feature service 'main' cannot be served: {TWICE}.", f"cannot be served: {BROKEN_VIEW}."
    for url in ("/features/u1", "/features/u1?feature_service=main", "/features/u1?features=devices"):
        assert refused(gateway.http.get(url), 503, main)["type"].endswith(":not-servable")
    refused(gateway.http.get("/feature-services/main"), 503, main)
    refused(gateway.http.get("/features/u1?features=pair:score"), 503, view)
    refused(gateway.http.post("/features", json={"entities": user}), 503, main)
    refused(gateway.http.post("/features", json={"entities": pair, "feature_service": "pairs"}), 503, view)
    refused(gateway.http.post("/get-online-features", json={"entities": user, "feature_service": "main"}), 503, main)
    refused(gateway.http.post("/get-online-features", json={"entities": pair, "features": ["pair:score"]}), 503, view)
    refused(gateway.http.get("/features/u1?feature_service=none"), 422, "'none' is unknown")


def test_the_status_and_the_list_tell_which_and_why(gateway: GatewayProcess) -> None:
    status = gateway.http.get("/status").json()
    assert status["feature_services"]["main"] == {"watermark": None, "problem": TWICE}
    assert status["feature_services"]["pairs"] == {"watermark": None, "problem": BROKEN_VIEW}
    assert "problem" not in status["feature_services"]["usage"]
    assert set(status["feature_views"]) == {"profile", "usage", "world"}
    listed = gateway.http.get("/feature-services").json()
    assert listed["default"] == "main"
    problems = {entry["name"]: entry.get("problem") for entry in listed["feature_services"]}
    assert problems == {"computed": None, "global": None, "main": TWICE, "pairs": BROKEN_VIEW, "usage": None}
    assert {"join_keys", "features", "tags"} <= listed["feature_services"][2].keys()
    assert gateway.http.get("/openapi.json").json()["paths"]["/features/{user_id}"]
    assert gateway.http.get("/").status_code == 200


def test_the_metric_tells_which_and_the_log_why_once_for_each_plan(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    first = gateway.http.get("/status").json()["plan"]["version"]
    assert servable(gateway) == {"main": 0, "pairs": 0, "computed": 1, "global": 1, "usage": 1}
    of_first = [(first, "main", TWICE), (first, "pairs", BROKEN_VIEW)]
    assert sorted(log_of(gateway)) == of_first
    second = support.publish(redis_client, broken_plan() | {"news": 1})
    support.wait_for(lambda: gateway.http.get("/status").json()["plan"]["version"] == second)
    good = support.publish(redis_client, support.plan())
    support.wait_for(lambda: gateway.http.get("/status").json()["plan"]["version"] == good)
    assert sorted(log_of(gateway)) == sorted([*of_first, (second, "main", TWICE), (second, "pairs", BROKEN_VIEW)])
    assert servable(gateway) == {"main": 1, "pairs": 1, "computed": 1, "global": 1}
    assert gateway.http.get("/features/u1").status_code == 200

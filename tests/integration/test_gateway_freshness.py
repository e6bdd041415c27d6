"""Which instant an age is counted from, and what an unfilled or emptied online store answers."""

import json
from datetime import datetime, timedelta

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from api import instants
from api.reader import evaluate
from api.selection import Selector
from tests import gateway_support as support
from tests.gateway_support import DAY, MONTH_END, NOW, refused

TTL = 45 * DAY


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(0), "PRESENT"),
        (-DAY, "PRESENT"),
        (TTL, "PRESENT"),
        (TTL + timedelta(microseconds=1), "OUTSIDE_MAX_AGE"),
    ],
)
def test_the_ttl_is_inclusive_and_a_negative_age_counts_as_zero(age: timedelta, status: str) -> None:
    selection = Selector(support.parsed(support.plan())).resolve(None, ["devices"])
    message = support.timestamp(NOW)
    reply = [message, Value(int64_val=2).SerializeToString()]
    reference = instants.from_text((NOW + age).isoformat())
    [cell] = evaluate(selection, {"user_id": "u"}, [reply], {"usage": reference}).cells
    assert (cell.status, cell.value) == (status, 2 if status == "PRESENT" else None)
    assert cell.age == max(0, age // timedelta(microseconds=1)) * 1000


def test_a_view_without_ttl_is_never_too_old(redis_client: redis.Redis) -> None:
    document = support.plan()
    document["feature_views"]["usage"]["ttl_seconds"] = None
    support.seed(redis_client, datetime(1970, 1, 1, tzinfo=NOW.tzinfo))
    support.publish(redis_client, document)
    with support.in_process() as http:
        answer = http.get("/features/u1?metadata=true").json()
    assert answer["features"]["devices"] == 2
    assert answer["metadata"]["devices"]["event_timestamp"] == "1970-01-01T00:00:00Z"
    assert answer["metadata"]["months_active"]["status"] == "OUTSIDE_MAX_AGE"


def test_old_months_are_served_when_ages_are_counted_from_the_watermark(redis_client: redis.Redis) -> None:
    support.seed(redis_client, MONTH_END)
    with support.in_process(freshness_reference="watermark") as http:
        answer = http.get("/features/u1?metadata=true&features=devices").json()
        assert answer["features"] == {"devices": 2}
        assert answer["metadata"]["devices"] == {
            "status": "PRESENT",
            "event_timestamp": "2024-01-31T00:00:00Z",
            "age": 0.0,
        }
        assert http.get("/features/u1?max_age=0s").status_code == 200
    with support.in_process(freshness_reference="now") as http:
        assert http.get("/features/u1?features=devices").json()["features"] == {"devices": None}


def test_reads_wait_until_every_view_was_materialized(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    redis_client.delete(f"feature-platform:{support.PROJECT}:status")
    support.fill(redis_client, "profile")
    with support.in_process() as http:
        problem = refused(http.get("/features/u1"), 503, "Feature view usage is not materialized yet")
        assert problem["title"] == "Not materialized yet"
        refused(http.post("/features", json={"entities": {"user_id": ["u1"]}}), 503)
        assert http.get("/features/u1?features=months_active").status_code == 200
        assert http.get("/status").json()["feature_services"]["main"] == {"watermark": None}
        support.fill(redis_client, "usage")
        assert http.get("/features/u1").status_code == 200


def test_an_emptied_redis_is_unavailable_at_once_not_full_of_unknown_users(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    with support.in_process() as http:
        assert http.get("/features/u1").status_code == 200
        redis_client.flushall()
        refused(http.get("/features/u1"), 503, "not materialized")
        refused(http.post("/features", json={"entities": {"user_id": ["u1"]}}), 503, "not materialized")
        support.seed(redis_client)
        assert http.get("/features/u1").status_code == 200


def test_an_unreadable_status_is_no_materialization(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    entry = json.dumps({"watermark": "yesterday", "rows": 1, "started_at": "", "finished_at": ""})
    for document in ("", "{", "[]", entry):
        redis_client.hset(f"feature-platform:{support.PROJECT}:status", "usage", document)
        with support.in_process() as http:
            refused(http.get("/features/u1"), 503, "usage is not materialized")


def test_without_a_plan_the_gateway_is_alive_and_not_ready(redis_client: redis.Redis) -> None:
    with support.in_process(wait=False) as http:
        assert http.get("/livez").status_code == 200
        for path in ("/readyz", "/features/u1", "/feature-services"):
            assert refused(http.get(path), 503)["title"] == "No serving plan yet"
        assert http.get("/status").json()["plan"] is None
        assert "/features/{id}" in http.get("/openapi.json").json()["paths"]
        support.seed(redis_client)
        support.wait_for(lambda: http.get("/readyz").status_code == 200)
        assert http.get("/features/u1").status_code == 200

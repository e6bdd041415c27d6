"""Every call of the gateway over a real Redis: refusals first, then the answers."""

import json
import math
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from api import inputs
from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, refused

FILM = {"film": Value(int64_val=2**62 + 1)}


@pytest.fixture
def seeded(redis_client: redis.Redis) -> redis.Redis:
    support.seed(redis_client)
    return redis_client


# --- refusals


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/features/nobody", 404, "user_id 'nobody'"),
        ("/features/u1?feature_service=none", 422, "'none' is unknown; the known ones are"),
        ("/features/u1?feature_service=", 422, "feature_service must be sent once, with a value"),
        ("/features/u1?features=none", 422, "'none' is not in feature service 'main'"),
        ("/features/u1?features=profile:none", 422, "'profile:none' is unknown"),
        ("/features/u1?features=devices,", 422, "''"),
        ("/features/u1?features=devices,devices", 422, "more than once"),
        ("/features/u1?features=" + ",".join(["devices"] * 1001), 422, "at most 1000"),
        ("/features/u1?metadata=yes", 422, "metadata must be true or false"),
        ("/features/u1?max_age=45", 422, "such as 45d"),
        ("/features/u1?max_age=1d&max_age=2d", 422, "max_age must be sent once"),
        ("/features/u1?verbose=1", 422, "'verbose' is unknown; the known ones are feature_service, features"),
        ("/features/u1?features=%FF", 422, "percent-encoded UTF-8"),
        ("/features/u1?max_age=0s", 412, "more than the max_age of 0s"),
        ("/features/", 422, "user_id must not be empty"),
        ("/features/%FF", 422, "percent-encoded UTF-8"),
        ("/features/" + "x" * 1025, 422, "at most 1024 bytes"),
        ("/features/u1?feature_service=pairs", 422, "keyed by film, user_id: ask for them with POST /features"),
        ("/features/u1?feature_service=global", 422, "keyed by no join key"),
        ("/features/u1?feature_service=computed", 503, "feature server"),
        ("/feature-services/none", 404, "'none' is unknown; the known ones are computed, global, main, pairs"),
        ("/feature-services/%FF", 422, "percent-encoded UTF-8"),
        ("/feature-services?x=1", 422, "this call takes none"),
        ("/feature-services/main?x=1", 422, "this call takes none"),
        ("/status?x=1", 422, "this call takes none"),
        ("/nothing", 404, "nothing at this path"),
        ("/features", 405, "does not take GET"),
        ("/get-online-features", 405, "does not take GET"),
    ],
)
def test_a_read_that_cannot_be_answered_is_refused_with_the_reason(
    seeded: redis.Redis, path: str, status: int, text: str
) -> None:
    before = seeded.hgetall(f"feature-platform:{support.PROJECT}:plan"), seeded.dbsize()
    with support.in_process() as http:
        refused(http.get(path), status, text)
    assert before == (seeded.hgetall(f"feature-platform:{support.PROJECT}:plan"), seeded.dbsize())


@pytest.mark.parametrize("path", ["/features", "/get-online-features"])
@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 422, "The body must be JSON"),
        (b"{", 422, "The body must be JSON"),
        (b"\xff", 422, "The body must be JSON"),
        (b'{"entities": {"user_id": ["\\ud800"]}}', 422, "The body must be JSON"),
        (b"[" * 10000, 422, "The body must be JSON"),
        (b"[]", 422, "body must be an object"),
        (b"{}", 422, "body.entities is missing"),
        (b'{"entities": ["u1"]}', 422, "body.entities must be an object"),
        (b'{"entities": {"user_id": "u1"}}', 422, "body.entities.user_id must be a list"),
        (b'{"entities": {"user_id": []}, "features": "devices"}', 422, "body.features must be a list"),
        (b'{"entities": {"user_id": []}, "features": [1]}', 422, "body.features.0 must be text"),
        (b'{"entities": {"user_id": []}, "feature_service": 1}', 422, "body.feature_service must be text"),
        (b'{"entities": {"user_id": []}, "feature_service": "x"}', 422, "'x' is unknown"),
        (b'{"entities": {}, "feature_service": "main"}', 422, "lacks the join key user_id"),
        (
            b'{"entities": {"user_id": [null]}, "feature_service": "main"}',
            422,
            "user_id[0]: user_id must be text, not null",
        ),
        (
            b'{"entities": {"user_id": ["u1", ""]}, "feature_service": "main"}',
            422,
            "user_id[1]: user_id must not be empty",
        ),
        (b'{"entities": {"user_id": ["u1"], "film": []}, "feature_service": "pairs"}', 422, "equally long"),
        (b'{"entities": {"user_id": ["u1"], "film": [1.5]}, "feature_service": "pairs"}', 422, "film must be a whole"),
        (b'{"entities": {"user_id": ["u1"], "film": [9223372036854775808]}, "feature_service": "pairs"}', 422, "film"),
        (json.dumps({"entities": {"user_id": ["u"] * 1001}, "feature_service": "main"}).encode(), 413, "at most 1000"),
        (b'"' + b"x" * inputs.MAX_BODY_BYTES + b'"', 413, "bytes long"),
    ],
    ids=range(21),
)
def test_a_body_that_is_not_as_documented_is_refused_with_the_place(
    seeded: redis.Redis, path: str, body: bytes, status: int, text: str
) -> None:
    with support.in_process() as http:
        refused(http.post(path, content=body), status, text)


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (
            "/features",
            {"entities": {"user_id": ["u1"]}, "more": 1},
            "body.more is unknown; the known ones are entities",
        ),
        ("/features", {"entities": {"user_id": ["u1"]}, "features": []}, "body.features must not be empty"),
        ("/features", {"entities": {"user_id": ["u1"]}, "metadata": "true"}, "body.metadata must be true or false"),
        ("/features", {"entities": {"user_id": ["u1"], "x": [1]}}, "entities holds 'x'; the join keys"),
        ("/features", {"entities": {"user_id": [7]}}, "user_id must be text, not a number"),
        ("/features?x=1", {"entities": {"user_id": ["u1"]}}, "'x' is unknown"),
        ("/get-online-features", {"entities": {"user_id": ["u1"]}}, "feature_service or features"),
        ("/get-online-features", {"entities": {"user_id": ["u1"]}, "features": ["devices"]}, "view:feature"),
    ],
)
def test_a_body_that_asks_for_the_wrong_thing_is_refused(
    seeded: redis.Redis, path: str, body: dict[str, Any], text: str
) -> None:
    with support.in_process() as http:
        refused(http.post(path, json=body), 422, text)


def test_a_chunked_body_is_refused_at_the_limit(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        refused(http.post("/features", content=_megabytes(5)), 413, "bytes long")


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1024 * 1024


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"])
@pytest.mark.parametrize("path", ["/features", "/features/u1", "/get-online-features", "/status", "/livez"])
def test_other_methods_are_refused(seeded: redis.Redis, method: str, path: str) -> None:
    with support.in_process() as http:
        response = http.request(method, path)
        refused(response, 405, method)
        assert response.headers["allow"]


def test_bytes_in_redis_that_are_no_value_are_an_error_that_names_the_feature(seeded: redis.Redis) -> None:
    devices: Any = bytes.fromhex(support.plan()["feature_views"]["usage"]["features"]["devices"]["field"])
    cut: Any = Value(int64_val=300).SerializeToString()[:-1]
    seeded.hset(support.redis_key(support.user("u1")), devices, cut)
    with support.in_process() as http:
        refused(http.get("/features/u1"), 500, "usage:devices")
        assert http.get("/features/u1?features=watch_hours").status_code == 200


# --- answers


def test_a_user_is_answered_with_the_default_feature_service(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        assert http.get("/features/u1").json() == {
            "user_id": "u1",
            "features": {
                "months_active": 1,
                "monthly_fee": 29.85,
                "paperless": True,
                "net_service": None,
                "watch_hours": 24.5,
                "devices": 2,
            },
        }


def test_features_are_answered_in_the_order_asked(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        answer = http.get("/features/u1?features=devices,profile:monthly_fee").text
    assert answer == '{"user_id":"u1","features":{"devices":2,"monthly_fee":29.85}}'


def test_metadata_tells_what_each_value_is_worth(seeded: redis.Redis) -> None:
    support.write(seeded, "usage", support.user("u1"), support.USAGE, NOW - 46 * DAY)
    with support.in_process() as http:
        answer = http.get("/features/u1?metadata=true").json()
    found = {name: entry["status"] for name, entry in answer["metadata"].items()}
    assert found == {
        "months_active": "PRESENT",
        "monthly_fee": "PRESENT",
        "paperless": "PRESENT",
        "net_service": "NULL_VALUE",
        "watch_hours": "OUTSIDE_MAX_AGE",
        "devices": "OUTSIDE_MAX_AGE",
    }
    assert answer["features"]["devices"] is None
    assert answer["metadata"]["devices"]["event_timestamp"] == (NOW - 46 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert 46 * 86400 <= answer["metadata"]["devices"]["age"] < 46 * 86400 + 600


def test_a_view_without_the_user_is_not_found_and_the_user_is_known(seeded: redis.Redis) -> None:
    support.write(seeded, "profile", support.user("u2"), support.PROFILE)
    with support.in_process() as http:
        answer = http.get("/features/u2?metadata=true").json()
    assert answer["metadata"]["devices"] == {"status": "NOT_FOUND", "event_timestamp": None, "age": None}
    assert answer["features"]["months_active"] == 1


def test_a_field_never_written_is_not_found(seeded: redis.Redis) -> None:
    support.write(seeded, "usage", support.user("u3"), {"devices": Value(int64_val=1)})
    with support.in_process() as http:
        answer = http.get("/features/u3?metadata=true&features=watch_hours,devices").json()
    assert answer["metadata"]["watch_hours"]["status"] == "NOT_FOUND"
    assert answer["features"] == {"watch_hours": None, "devices": 1}


@pytest.mark.parametrize("user", ["7590-VHVEG", "ü ñ/漢字", "a/b", "a//b/", "?&#%", "...", "\x00", "x" * 1024, " "])
def test_any_text_is_an_id(seeded: redis.Redis, user: str) -> None:
    support.write(seeded, "usage", support.user(user), support.USAGE)
    with support.in_process() as http:
        assert http.get(f"/features/{quote(user, safe='')}?features=devices").json()["user_id"] == user


def test_ids_that_look_alike_are_different_users(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        for user in ("U1", "u1 ", "u1%00", "u1/"):
            refused(http.get(f"/features/{user}"), 404)


@pytest.mark.parametrize(
    ("max_age", "status"), [("45d", 200), ("2d", 200), ("1d", 412), ("86399s", 412), ("0s", 412), ("30w", 200)]
)
def test_max_age_refuses_older_values(seeded: redis.Redis, max_age: str, status: int) -> None:
    support.write(seeded, "usage", support.user("u1"), support.USAGE, NOW - DAY)
    with support.in_process() as http:
        assert http.get(f"/features/u1?max_age={max_age}").status_code == status
        assert http.get(f"/features/u1?max_age={max_age}&features=months_active").status_code == (
            412 if max_age == "0s" else 200
        )


def test_whole_numbers_keep_all_their_digits(seeded: redis.Redis) -> None:
    support.write(seeded, "usage", support.user("big"), {"devices": Value(int64_val=2**63 - 1)})
    with support.in_process() as http:
        assert http.get("/features/big?features=devices").text.endswith('{"devices":9223372036854775807}}')


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_is_null(seeded: redis.Redis, number: float) -> None:
    support.write(seeded, "usage", support.user("odd"), {"watch_hours": Value(double_val=number)})
    with support.in_process() as http:
        answer = http.get("/features/odd?features=watch_hours&metadata=true").json()
    assert answer["features"] == {"watch_hours": None}
    assert answer["metadata"]["watch_hours"]["status"] == "NULL_VALUE"


def test_many_users_are_answered_row_by_row_and_unknown_ones_marked(seeded: redis.Redis) -> None:
    support.write(seeded, "usage", support.user("u2"), {"devices": Value(int64_val=9)})
    with support.in_process() as http:
        body = {"entities": {"user_id": ["u2", "nobody", "u1", "u2"]}, "features": ["devices"], "metadata": True}
        rows = http.post("/features", json=body).json()["results"]
    assert [row["user_id"] for row in rows] == ["u2", "nobody", "u1", "u2"]
    assert [row["found"] for row in rows] == [True, False, True, True]
    assert [row["features"]["devices"] for row in rows] == [9, None, 2, 9]
    assert [row["metadata"]["devices"]["status"] for row in rows] == ["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]


def test_a_thousand_users_are_answered_in_one_call(seeded: redis.Redis) -> None:
    users = [f"many-{number}" for number in range(1000)]
    for number in range(0, 1000, 7):
        support.write(seeded, "usage", support.user(users[number]), {"devices": Value(int64_val=number)})
    with support.in_process() as http:
        rows = http.post("/features", json={"entities": {"user_id": users}}).json()["results"]
    assert [row["features"]["devices"] for row in rows] == [n if n % 7 == 0 else None for n in range(1000)]
    assert [row["user_id"] for row in rows] == users


def test_no_users_are_no_rows(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        assert http.post("/features", json={"entities": {"user_id": []}}).json() == {"results": []}


def test_services_over_several_join_keys_are_read_with_all_of_them(seeded: redis.Redis) -> None:
    support.write(seeded, "pair", support.user("u1") | FILM, {"score": Value(double_val=0.5)})
    with support.in_process() as http:
        body = {"entities": {"user_id": ["u1", "u1"], "film": [2**62 + 1, str(2**62)]}, "feature_service": "pairs"}
        rows = http.post("/features", json=body).json()["results"]
    assert [row["features"] for row in rows] == [
        {"months_active": 1, "score": 0.5},
        {"months_active": 1, "score": None},
    ]
    assert [(row["film"], row["found"]) for row in rows] == [(2**62 + 1, True), (2**62, True)]


def test_a_view_without_join_keys_is_the_same_for_everybody(seeded: redis.Redis) -> None:
    support.write(seeded, "world", {"__dummy_id": Value(string_val="")}, {"rate": Value(double_val=1.25)})
    with support.in_process() as http:
        alone = http.post("/features", json={"entities": {}, "feature_service": "global"}).json()["results"]
        assert alone == [{"found": True, "features": {"rate": 1.25}}]
        assert http.get("/features/u1?features=devices,world:rate").json()["features"] == {"devices": 2, "rate": 1.25}
        refused(http.get("/features/nobody?features=devices,world:rate"), 404)


def test_services_are_listed_and_described(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        listed = http.get("/feature-services").json()
        described = http.get("/feature-services/computed").json()
    assert listed["default"] == "main"
    assert [entry["name"] for entry in listed["feature_services"]] == ["computed", "global", "main", "pairs"]
    assert described["join_keys"] == [{"name": "user_id", "type": "STRING"}]
    stored, computed = described["features"]
    assert (stored["type"], stored["ttl_seconds"], stored["source"]) == ("INT64", 45 * 86400, "profile_table")
    assert stored["owner"] == "team@example.org"
    assert computed["inputs"] == ["usage:watch_hours", "usage:devices"]


def test_status_tells_watermark_and_freshness_of_each_view(seeded: redis.Redis) -> None:
    support.fill(seeded, "usage", watermark=NOW - 50 * DAY)
    with support.in_process() as http:
        status = http.get("/status").json()
    old = (NOW - 50 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert status["online_store"] == "reachable"
    assert status["feature_views"]["usage"] | {"age": 0} == {
        "materialized": True,
        "watermark": old,
        "age": 0,
        "ttl_seconds": 45 * 86400,
        "fresh": False,
        "rows": 2,
        "previous_rows": None,
        "left_out_rows": 0,
        "defaulted_elements": 0,
        "started_at": old,
        "finished_at": old,
    }
    assert status["feature_views"]["profile"]["fresh"] is True
    assert status["feature_services"]["main"] == {"watermark": old}


def test_status_tells_the_last_runs_the_newest_first(seeded: redis.Redis) -> None:
    runs = {
        "2024-02-01T06:00:00Z": {"finished_at": "2024-02-01T06:00:03.5Z", "exit_code": 0, "summary": "done: all of it"},
        "2024-03-01T06:00:00Z": {"finished_at": "2024-03-01T06:00:01Z", "exit_code": 1, "summary": None},
        "2024-03-01T06:01:00Z": {},
        "no instant": {},
        "2024-03-01T06:02:00Z": "no document",
    }
    support.show_runs(seeded, runs)
    with support.in_process() as http:
        shown = http.get("/status").json()["runs"]
    unknown = {"finished_at": None, "exit_code": None, "summary": None}
    assert shown == [
        {"started_at": "2024-03-01T06:01:00Z", **unknown},
        {"started_at": "2024-03-01T06:00:00Z", **runs["2024-03-01T06:00:00Z"]},  # type: ignore[dict-item]
        {
            "started_at": "2024-02-01T06:00:00Z", "finished_at": "2024-02-01T06:00:03.500Z",
            "exit_code": 0, "summary": "done: all of it",
        },
    ]  # fmt: skip


def test_probes_answer(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        assert http.get("/health").json() == {"status": "ok"}
        assert http.get("/livez").json() == {"status": "alive"}
        assert http.get("/readyz").json() == {"status": "ready"}


def test_openapi_is_served_with_the_plans_names(seeded: redis.Redis) -> None:
    with support.in_process() as http:
        document = http.get("/openapi.json").json()
        assert http.get("/docs").status_code == 200
    assert "/features/{user_id}" in document["paths"]

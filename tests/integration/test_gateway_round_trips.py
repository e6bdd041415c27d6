"""What a read costs at a real Redis, and how long a large one may take."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from api import app
from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.fronts import slow_front

MANY = 1_000
# At this pace a part of a batch takes about 100 ms and the status of 46 views 170 ms: each has 250 ms.
BYTES_A_SECOND = 45_000


def _calls(client: redis.Redis) -> dict[str, int]:
    statistics: Any = client.info("commandstats")
    return {name: statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("hmget", "hgetall")}


def _answer(client: redis.Redis, method: str, path: str, **more: Any) -> tuple[httpx.Response, dict[str, int]]:
    """The answer and the commands that it took, of a gateway that looks for nothing beside its requests."""

    async def ask() -> tuple[httpx.Response, dict[str, int]]:
        application = app.create(support.settings())
        transport = httpx.ASGITransport(application)
        try:
            await application.gateway.plans.refresh()
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                before = _calls(client)
                answer = await http.request(method, path, **more)
                return answer, {name: calls - before[name] for name, calls in _calls(client).items()}
        finally:
            await application.gateway.store.close()

    return asyncio.run(ask())


def _cost(client: redis.Redis, method: str, path: str, **more: Any) -> tuple[int, dict[str, int]]:
    answer, commands = _answer(client, method, path, **more)
    return answer.status_code, commands


def test_an_unknown_entity_costs_one_round_trip_more_than_a_known_one(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    assert _cost(redis_client, "GET", "/features/u1") == (200, {"hmget": 1, "hgetall": 0})
    assert _cost(redis_client, "GET", "/features/nobody") == (404, {"hmget": 1, "hgetall": 1})
    body = {"entities": {"user_id": ["u1", "nobody", "neither"]}}
    assert _cost(redis_client, "POST", "/features", json=body) == (200, {"hmget": 3, "hgetall": 1})


def test_the_status_page_still_tells_of_the_last_run(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    assert _cost(redis_client, "GET", "/status") == (200, {"hmget": 0, "hgetall": 2})


@pytest.fixture
def slow_redis(
    redis_client: redis.Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[redis.Redis]:
    """A Redis behind a slow line; the client is not."""
    with slow_front(redis_server.port, BYTES_A_SECOND) as port:
        monkeypatch.setenv(support.CONNECTION, f"{redis_server.host}:{port},password={redis_server.password}")
        yield redis_client


def test_a_batch_over_several_join_keys_has_a_deadline_for_each_part_of_its_hashes(slow_redis: redis.Redis) -> None:
    keys = [f"key{number}" for number in range(10)]
    views = {f"of_{key}": support.view(f"of_{key}", {key: "DOUBLE"}, {key: "STRING"}) for key in keys}
    wide = support.service(*(f"of_{key}:{key}" for key in keys))
    support.publish(
        slow_redis,
        support.plan(feature_views=views, on_demand_feature_views={}, default_feature_service="wide",
                     feature_services={"wide": wide}),
    )  # fmt: skip
    support.fill(slow_redis, *views)
    entities = {key: [str(row) for row in range(MANY)] for key in keys}
    answer, _ = _answer(slow_redis, "POST", "/features", json={"entities": entities})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == MANY


def test_few_unknown_entities_of_a_large_batch_have_the_time_of_the_whole_batch(slow_redis: redis.Redis) -> None:
    support.publish(slow_redis, support.plan(feature_services={"main": support.service("usage:devices")}))
    support.fill(slow_redis, "usage", *(f"another_{number}" for number in range(45)))
    users = [f"user-{number}" for number in range(MANY)]
    for user in users[1:]:
        support.write(slow_redis, "usage", support.user(user), {"devices": Value(int64_val=2)})
    answer, _ = _answer(slow_redis, "POST", "/features", json={"entities": {"user_id": users}})
    assert answer.status_code == 200, answer.text
    assert [row["features"]["devices"] for row in answer.json()["results"][:2]] == [None, 2]

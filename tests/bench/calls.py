"""What is asked of the servers of the serving benchmark, and that they say the same."""

from typing import Any

import httpx

from tests.bench.request import Request
from tests.bench.servers import BARE, CONSTANT, FEAST, FROZEN, OURS, PLAIN, SERVICE, Server
from tests.bench.world import World

COMPARED = 200
BATCH = 100


def by_server(world: World) -> dict[tuple[str, str], list[Request]]:
    """The requests of each call, by server and name of the call."""
    customers, features = world.customers, _references(world)
    batches = [customers[start : start + BATCH] for start in range(0, len(customers), BATCH)]
    feast_one = [_feast_request([customer], {"features": features}) for customer in customers]
    feast_service = [_feast_request([customer], {"feature_service": SERVICE}) for customer in customers]
    feast_batch = [_feast_request(batch, {"features": features}) for batch in batches]
    gets = [Request("GET", f"/features/{customer}") for customer in customers]
    our_batch = [Request("POST", "/features", _json({"entities": {"user_id": batch}})) for batch in batches]
    unknown = [Request("GET", f"/features/nobody-{number}") for number in range(1_000)]
    return {
        (OURS, "one"): gets, (BARE, "one"): gets, (CONSTANT, "one"): gets, (PLAIN, "one"): gets,
        (FEAST, "one"): feast_one, (FROZEN, "one"): feast_one, (FEAST, "service"): feast_service,
        (OURS, "protocol"): feast_one, (OURS, "batch"): our_batch, (FEAST, "batch"): feast_batch,
        (OURS, "unknown"): unknown,
    }  # fmt: skip


def compare(world: World, running: dict[str, Server]) -> None:
    """RuntimeError unless the servers that read say the same of some customers."""
    customers = world.customers[:COMPARED]
    seen: dict[str, list[Any]] = {}
    with httpx.Client(timeout=30.0, trust_env=False) as client:
        for name in (OURS, PLAIN):
            url = running[name].url
            seen[name] = [client.get(f"{url}/features/{customer}").json()["features"] for customer in customers]
        batch = client.post(f"{running[OURS].url}/features", json={"entities": {"user_id": customers}}).json()
        seen["a batch"] = [result["features"] for result in batch["results"]]
        for name in (OURS, FEAST):
            body = {"features": _references(world), "entities": {"user_id": customers}}
            answer = client.post(f"{running[name].url}/get-online-features", json=body).json()
            names = answer["metadata"]["feature_names"][1:]
            columns = [result["values"] for result in answer["results"][1:]]
            seen[f"{name}, Feast's protocol"] = [
                dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
            ]
    for name, answers in seen.items():
        if answers != seen[FEAST + ", Feast's protocol"]:
            raise RuntimeError(f"{name} and {FEAST} say different things of the same customers")


def _references(world: World) -> list[str]:
    features = world.plan["feature_services"][SERVICE]["features"]
    return [f"{feature['feature_view']}:{feature['feature']}" for feature in features]


def _feast_request(customers: list[str], what: dict[str, Any]) -> Request:
    return Request("POST", "/get-online-features", _json({**what, "entities": {"user_id": customers}}))


def _json(content: Any) -> str:
    return httpx.Request("POST", "http://x", json=content).content.decode()

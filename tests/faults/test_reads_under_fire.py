"""10,000 calls while connections drop, callers go away and Redis restarts: each answer is right, or says 503."""

import asyncio
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import redis
from feast.protos.feast.types.Value_pb2 import Value

from jobs.local.servers import RedisServer
from tests import gateway_support as support

CALLS, CALLERS, CUSTOMERS, RESTARTS = 10_000, 24, 400, 2
TTL = timedelta(days=45)
# Of each view's features: how a value is written, from what random draws.
DRAWS: dict[str, dict[str, Any]] = {
    "profile": {
        "months_active": lambda draw: ("int64_val", draw.randrange(-5, 2**53)),
        "monthly_fee": lambda draw: ("double_val", draw.choice([29.85, draw.random() * 100, 0.0, float("nan")])),
        "paperless": lambda draw: ("bool_val", draw.random() < 0.5),
        "net_service": lambda draw: ("string_val", draw.choice(["DSL", "Fibre", 'a "quoted" % text', "ü", ""])),
    },
    "usage": {
        "watch_hours": lambda draw: ("double_val", round(draw.random() * 80, 2)),
        "devices": lambda draw: ("int64_val", draw.randrange(9)),
    },
}
Cell = tuple[Any, str]


class Customers:
    """What was written of each customer, kept as plain values: the obvious reader looks here."""

    def __init__(self, draw: random.Random) -> None:
        self.rows: dict[tuple[str, str], tuple[dict[str, Value], Any]] = {}
        """By view and customer: the values, and as_of."""
        self.cells: dict[str, dict[str, Cell]] = {}
        self.known: dict[str, bool] = {}
        for number in range(CUSTOMERS):
            self._invent(draw, f"customer {number} %/ü" if number % 7 == 0 else f"customer-{number}")

    def _invent(self, draw: random.Random, name: str) -> None:
        self.cells[name], self.known[name] = {}, False
        for view, features in DRAWS.items():
            lot = draw.random()
            as_of = support.NOW - (TTL + timedelta(days=1) if lot < 0.1 else timedelta(days=draw.randrange(40)))
            values: dict[str, Value] = {}
            for feature, drawn in features.items():
                kind, value = drawn(draw)
                fate = draw.random()
                if lot > 0.9 or fate < 0.1:  # the view has no row of the customer
                    self.cells[name][feature] = None, "NOT_FOUND"
                elif fate < 0.3:
                    values[feature] = Value()
                    self.cells[name][feature] = None, "OUTSIDE_MAX_AGE" if lot < 0.1 else "NULL_VALUE"
                else:
                    values[feature] = Value(**{kind: value})
                    shown = None if value != value else value
                    status = "NULL_VALUE" if shown is None else "PRESENT"
                    self.cells[name][feature] = (None, "OUTSIDE_MAX_AGE") if lot < 0.1 else (shown, status)
            if lot <= 0.9:
                self.known[name] = True
                self.rows[view, name] = values, as_of

    def write(self, client: redis.Redis) -> None:
        """Rows first: who is not there yet is not unknown while the status does not say that the views are filled."""
        for (view, name), (values, as_of) in self.rows.items():
            support.write(client, view, support.user(name), values, as_of)
        support.publish(client, support.plan())
        support.fill(client)

    def features(self, name: str, wanted: list[str]) -> dict[str, Any]:
        cells = self.cells.get(name, {})
        return {feature: cells.get(feature, (None, "NOT_FOUND"))[0] for feature in wanted}

    def statuses(self, name: str, wanted: list[str]) -> dict[str, str]:
        cells = self.cells.get(name, {})
        return {feature: cells.get(feature, (None, "NOT_FOUND"))[1] for feature in wanted}


ALL = [feature for features in DRAWS.values() for feature in features]
VIEW_OF = {feature: view for view, features in DRAWS.items() for feature in features}


class Callers:
    """Send random calls and judge the answers."""

    def __init__(self, url: str, customers: Customers, draw: random.Random) -> None:
        self._url, self._customers, self._draw = url, customers, draw
        self._left = CALLS
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(CALLERS)))

    async def _caller(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=20, trust_env=False) as client:
            while self._left > 0:
                self._left -= 1
                call = self._draw.choices([self._one, self._many, self._feast], [6, 2, 2])[0]
                task = asyncio.ensure_future(call(client))
                if self._draw.random() < 0.1:
                    await asyncio.sleep(self._draw.random() * 0.01)
                    task.cancel()
                [ended] = await asyncio.gather(task, return_exceptions=True)
                if isinstance(ended, asyncio.CancelledError):
                    self.seen["went away"] += 1
                elif ended is not None:
                    self.wrong.append(repr(ended))

    def _names(self, count: int) -> list[str]:
        known = list(self._customers.known)
        return [
            self._draw.choice(known) if self._draw.random() < 0.95 else f"nobody-{self._draw.random()}"
            for _ in range(count)
        ]

    def _some_features(self) -> list[str]:
        return self._draw.sample(ALL, self._draw.randint(1, len(ALL)))

    async def _one(self, client: httpx.AsyncClient) -> None:
        [name], wanted, query = self._names(1), ALL, dict[str, str]()
        if self._draw.random() < 0.3:
            wanted = self._some_features()
            query["features"] = ",".join(wanted)
        if self._draw.random() < 0.2:
            query["metadata"] = "true"
        answer = await client.get(f"/features/{httpx.URL(path='/' + name).raw_path[1:].decode()}", params=query)
        asked_views = {VIEW_OF[feature] for feature in wanted}
        if not self._known(name, asked_views):
            self._judge(answer, "unknown", {404}, lambda body: body["title"], "Unknown entity")
            return
        self._judge(answer, "one", {200}, lambda body: body["features"], self._customers.features(name, wanted))
        if answer.status_code == 200 and query.get("metadata"):
            told = {feature: of["status"] for feature, of in answer.json()["metadata"].items()}
            self._check("metadata", told, self._customers.statuses(name, wanted))
        if answer.status_code == 200:
            self._check("whose", answer.json()["user_id"], name)

    def _known(self, name: str, views: set[str]) -> bool:
        return any((view, name) in self._customers.rows for view in views)

    async def _many(self, client: httpx.AsyncClient) -> None:
        names, wanted = self._names(self._draw.choice([1, 3, 250])), self._some_features()
        answer = await client.post("/features", json={"entities": {"user_id": names}, "features": wanted})
        views = {VIEW_OF[feature] for feature in wanted}
        right = [
            {"found": self._known(name, views), "user_id": name, "features": self._customers.features(name, wanted)}
            for name in names
        ]
        self._judge(answer, "many", {200}, lambda body: body["results"], right)

    async def _feast(self, client: httpx.AsyncClient) -> None:
        names, wanted = self._names(self._draw.choice([1, 3, 40])), self._some_features()
        references = [f"{VIEW_OF[feature]}:{feature}" for feature in wanted]
        answer = await client.post(
            "/get-online-features", json={"entities": {"user_id": names}, "features": references}
        )
        statuses = [[self._customers.statuses(name, wanted)[feature] for name in names] for feature in wanted]
        self._judge(
            answer, "feast", {200}, lambda body: [_plain(result["values"]) for result in body["results"]],
            [names, *([self._customers.features(name, wanted)[feature] for name in names] for feature in wanted)],
        )  # fmt: skip
        if answer.status_code == 200:
            told = [
                ["NULL_VALUE" if value == "NaN" else status for value, status in zip(*pair, strict=True)]
                for pair in ((result["values"], result["statuses"]) for result in answer.json()["results"][1:])
            ]
            self._check("feast statuses", told, statuses)

    def _judge(self, answer: httpx.Response, kind: str, codes: set[int], read: Any, right: Any) -> None:
        self.seen[f"{kind} {answer.status_code}"] += 1
        if answer.status_code == 503:
            support.refused(answer, 503)
        elif answer.status_code not in codes:
            self.wrong.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        else:
            self._check(kind, read(answer.json()), right)

    def _check(self, kind: str, told: Any, right: Any) -> None:
        if told != right:
            self.wrong.append(f"{kind}: {str(told)[:300]} instead of {str(right)[:300]}")


def _plain(values: list[Any]) -> list[Any]:
    return [None if value == "NaN" else value for value in values]


def test_each_of_many_calls_is_answered_rightly_or_with_503(own_redis: RedisServer, tmp_path: Path) -> None:
    draw = random.Random(20_240_131)
    customers = Customers(draw)
    customers.write(_client(own_redis))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(tmp_path / "log", **environment) as gateway:
        gateway.wait_ready()
        callers = Callers(gateway.url, customers, draw)
        _under_fire(callers, own_redis, customers)
        assert callers.wrong[:3] == []
        for kind in ("one 200", "unknown 404", "many 200", "feast 200", "one 503", "went away"):
            assert callers.seen[kind] > 20, callers.seen
        answered = sum(count for kind, count in callers.seen.items() if kind.endswith((" 200", " 404")))
        assert answered > CALLS / 2, callers.seen
        known = next(name for name, known in customers.known.items() if known and name.startswith("customer-"))
        support.wait_for(lambda: gateway.http.get(f"/features/{known}").status_code == 200)
        assert "feature_gateway_in_flight_requests 0.0" in httpx.get(f"{gateway.metrics_url}/metrics").text


def _under_fire(callers: Callers, server: RedisServer, customers: Customers) -> None:
    # The callers in a thread of their own: Linux ends a child with the thread that started it.
    with ThreadPoolExecutor(1) as executor:
        running, restarts = executor.submit(asyncio.run, callers.run()), 0
        while not running.done():
            time.sleep(0.2)
            if restarts < RESTARTS and sum(callers.seen.values()) > (restarts + 1) * CALLS / (RESTARTS + 1):
                restarts += 1
                server.stop()
                time.sleep(0.2)
                server.start()
                customers.write(_client(server))
            else:
                _client(server).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        running.result()


def _client(server: RedisServer) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, password=server.password)

"""`python -m tests.bench.serving`: the gateway beside what else could stand in its place, on one machine in one run.

Every server answers from the same Redis and is loaded by wrk over loopback, in rounds, one server after the other in
each; what is compared are medians. Answers are compared before anything is timed.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.bench import open_loop, processes, ratios, servers, wrk
from tests.bench.plot import draw
from tests.bench.ratios import Ratio
from tests.bench.servers import SERVICE, Server
from tests.bench.world import World, filled
from tests.conftest import REPOSITORY

OUTPUT = REPOSITORY / "build" / "bench"
CUSTOMERS = 100_000
COMPARED = 200
BATCH = 100
CONNECTIONS = (1, 8, 32)
ROUNDS = 3
SECONDS = 3
STARTS = 5
MILLION = 1_000_000
OPEN_LOOP_SECONDS = 10.0
OPEN_LOOP_RATES = (2_000, 500)
MEGABYTE = 1_000_000
OURS, FEAST, PLAIN, CONSTANT, BARE = (
    "gateway",
    "feast serve",
    "FastAPI, redis.asyncio",
    "FastAPI, constant",
    "ASGI, constant",
)


@dataclass(frozen=True)
class Case:
    """Requests to a server at a number of connections."""

    server: str
    call: str
    connections: int


@dataclass
class Figures:
    """What was seen of a case, one entry a round; seconds."""

    loads: list[wrk.Load] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """Per request."""

    @property
    def per_second(self) -> float:
        """Median of requests a second."""
        return statistics.median(load.per_second for load in self.loads)

    @property
    def p50(self) -> float:
        """Median of the rounds' medians."""
        return statistics.median(load.p50 for load in self.loads)

    @property
    def p99(self) -> float:
        """Median of the rounds' 99th percentiles."""
        return statistics.median(load.p99 for load in self.loads)

    @property
    def cpu(self) -> float:
        """Median CPU time of a request."""
        return statistics.median(self.cpu_seconds)


class Benchmark:
    """Servers over one world, and what was measured of them."""

    def __init__(self, world: World, running: dict[str, Server], scripts: dict[tuple[str, str], Path]) -> None:
        self._world, self._running, self._scripts = world, running, scripts
        self.figures: dict[Case, Figures] = defaultdict(Figures)

    def cases(self) -> Iterator[Case]:
        """All that is timed, in the order of a round."""
        for connections in CONNECTIONS:
            for server, call in self._scripts:
                if call == "one" or (connections == 8 and call != "one"):
                    yield Case(server, call, connections)

    def rounds(self, count: int, seconds: int) -> None:
        """Load every case so many times, after a short time that does not count. RuntimeError for a failed request."""
        for number in range(count + 1):
            for case in self.cases():
                load, cpu = self._load(case, seconds if number else 1)
                print(f"round {number}: {_named(case)}: {load.per_second:,.0f}/s", file=sys.stderr, flush=True)
                if number:
                    self.figures[case].loads.append(load)
                    self.figures[case].cpu_seconds.append(cpu / load.requests)

    def _load(self, case: Case, seconds: int) -> tuple[wrk.Load, float]:
        server = self._running[case.server]
        before = processes.cpu_seconds(server.process.pid)
        load = wrk.run(server.url, self._scripts[case.server, case.call], case.connections, seconds)
        if load.failed and case.call != "unknown":
            raise RuntimeError(f"{_named(case)}: {load.failed} of {load.requests} requests failed")
        return load, processes.cpu_seconds(server.process.pid) - before

    def until(self, requests: int) -> tuple[int, int]:
        """Memory of the gateway before and after so many more single reads, in bytes."""
        server, sent = self._running[OURS], 0
        before = processes.memory_bytes(server.process.pid)
        while sent < requests:
            sent += self._load(Case(OURS, "one", 32), 5)[0].requests
        return before, processes.memory_bytes(server.process.pid)

    def on_schedule(self) -> dict[tuple[str, int], open_loop.Latencies]:
        """Latencies at fixed rates, by server and rate; only calls that are GETs."""
        paths = [f"/features/{customer}" for customer in self._world.customers]
        return {
            (OURS, rate): open_loop.run("127.0.0.1", self._running[OURS].port, paths, rate, OPEN_LOOP_SECONDS)
            for rate in OPEN_LOOP_RATES
        }


def main() -> int:
    """Run it all; 0 if every ratio was reached, 1 if one was missed, 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help=f"how many there are (default {CUSTOMERS:,})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"of one load (default {SECONDS:g})")
    arguments = parser.parse_args()
    if missing := wrk.requirement():
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as a user of its own where we are root
        (Path(folder) / "logs").mkdir()
        print(f"filling a Redis with {arguments.customers:,} customers ...", file=sys.stderr, flush=True)
        with filled(Path(folder), arguments.customers) as world:
            found = _measure(world, arguments.rounds, arguments.seconds)
    ratios.write(found, OUTPUT / "serving.json")
    print()
    for ratio in found:
        print(ratio.told())
    return 0 if all(ratio.is_reached for ratio in found) else 1


def _measure(world: World, rounds: int, seconds: int) -> list[Ratio]:
    with ExitStack() as stack:
        start_seconds = statistics.median(_start_seconds(world) for _ in range(STARTS))
        ours = stack.enter_context(servers.gateway(world))
        body = httpx.get(f"{ours.url}/features/{world.customers[0]}").content
        running = {OURS: ours} | {
            name: stack.enter_context(context)
            for name, context in {
                FEAST: servers.feast(world, frozen=False),
                f"{FEAST}, frozen": servers.feast(world, frozen=True),
                PLAIN: servers.application(world, "plain", PLAIN, body),
                CONSTANT: servers.application(world, "constant", CONSTANT, body),
                BARE: servers.application(world, "bare", BARE, body),
            }.items()
        }
        _compare(world, running)
        benchmark = Benchmark(world, running, _scripts(world))
        benchmark.rounds(rounds, seconds)
        memory = benchmark.until(MILLION)
        scheduled = benchmark.on_schedule()
        peaks = {name: processes.peak_memory_bytes(server.process.pid) for name, server in running.items()}
    _print_table(benchmark.figures, peaks)
    _print_schedule(scheduled)
    draw({_named(case): figures.per_second for case, figures in benchmark.figures.items()}, OUTPUT / "serving.svg")
    return _ratios(benchmark.figures, peaks[OURS], memory, start_seconds)


def _start_seconds(world: World) -> float:
    with servers.gateway(world) as started:
        seconds: float = started.start_seconds
        return seconds


def _scripts(world: World) -> dict[tuple[str, str], Path]:
    """By server and call."""
    customers, features = world.customers, _references(world)
    batches = [customers[start : start + BATCH] for start in range(0, len(customers), BATCH)]
    feast_one = [_feast_request([customer], {"features": features}) for customer in customers]
    feast_service = [_feast_request([customer], {"feature_service": SERVICE}) for customer in customers]
    feast_batch = [_feast_request(batch, {"features": features}) for batch in batches]
    gets = [wrk.Request("GET", f"/features/{customer}") for customer in customers]
    our_batch = [wrk.Request("POST", "/features", _json({"entities": {"user_id": batch}})) for batch in batches]
    unknown = [wrk.Request("GET", f"/features/nobody-{number}") for number in range(1_000)]
    calls = {
        (OURS, "one"): gets, (BARE, "one"): gets, (CONSTANT, "one"): gets, (PLAIN, "one"): gets,
        (FEAST, "one"): feast_one, (f"{FEAST}, frozen", "one"): feast_one, (FEAST, "service"): feast_service,
        (OURS, "protocol"): feast_one, (OURS, "batch"): our_batch, (FEAST, "batch"): feast_batch,
        (OURS, "unknown"): unknown,
    }  # fmt: skip
    return {
        key: wrk.script(world.folder / f"{number}.lua", requests)
        for number, (key, requests) in enumerate(calls.items())
    }


def _references(world: World) -> list[str]:
    features = world.plan["feature_services"][SERVICE]["features"]
    return [f"{feature['feature_view']}:{feature['feature']}" for feature in features]


def _feast_request(customers: list[str], what: dict[str, Any]) -> wrk.Request:
    return wrk.Request("POST", "/get-online-features", _json({**what, "entities": {"user_id": customers}}))


def _json(content: Any) -> str:
    return httpx.Request("POST", "http://x", json=content).content.decode()


def _compare(world: World, running: dict[str, Server]) -> None:
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


def _named(case: Case) -> str:
    return f"{case.server}, {case.call}, {case.connections}"


def _print_table(figures: dict[Case, Figures], peaks: dict[str, int]) -> None:
    print(
        f"{'server':24} {'call':9} {'conns':>5} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>7} {'peak MB':>8}"
    )
    for case in sorted(figures, key=lambda case: (case.call, case.connections, -figures[case].per_second)):
        found = figures[case]
        print(
            f"{case.server:24} {case.call:9} {case.connections:5} {found.per_second:8,.0f} {found.p50 * 1e3:8.3f} "
            f"{found.p99 * 1e3:8.3f} {found.cpu * 1e6:7.0f} {peaks[case.server] / MEGABYTE:8.0f}"
        )


def _print_schedule(scheduled: dict[tuple[str, int], open_loop.Latencies]) -> None:
    print(f"\n{'on schedule':24} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'failed':>7}")
    for (server, rate), latencies in scheduled.items():
        shown = " ".join(f"{latencies.percentile(percent) * 1e3:8.3f}" for percent in (50, 99, 99.9))
        print(f"{server:24} {rate:8,} {shown} {latencies.failed:8}")


def _ratios(figures: dict[Case, Figures], peak: int, memory: tuple[int, int], start_seconds: float) -> list[Ratio]:
    def per_second(call: str, connections: int, other: str, other_call: str = "one") -> float:
        ours, theirs = figures[Case(OURS, call, connections)], figures[Case(other, other_call, connections)]
        return ours.per_second / theirs.per_second

    def p99(connections: int) -> float:
        return figures[Case(OURS, "one", connections)].p99 / figures[Case(FEAST, "one", connections)].p99

    p50 = figures[Case(OURS, "one", 1)].p50 / figures[Case(PLAIN, "one", 1)].p50
    before, after = memory
    return [
        Ratio("one customer: requests against feast serve, 8 connections", per_second("one", 8, FEAST), at_least=15),
        Ratio("one customer: requests against feast serve, 32 connections", per_second("one", 32, FEAST), at_least=20),
        Ratio("one customer: p99 against feast serve, 8 connections", p99(8), at_most=0.02),
        Ratio("one customer: p99 against feast serve, 32 connections", p99(32), at_most=0.02),
        Ratio("one customer: requests against constant FastAPI, 8", per_second("one", 8, CONSTANT), at_least=1.4),
        Ratio("one customer: requests against constant FastAPI, 32", per_second("one", 32, CONSTANT), at_least=1.6),
        Ratio("one customer: requests against bare ASGI constant, 8", per_second("one", 8, BARE), at_least=0.40),
        Ratio("one customer: requests against bare ASGI constant, 32", per_second("one", 32, BARE), at_least=0.45),
        Ratio("one customer: p50 against plain FastAPI and redis.asyncio, 1", p50, at_most=0.6),
        Ratio("100 customers in a call: against feast serve", per_second("batch", 8, FEAST, "batch"), at_least=20),
        Ratio("Feast's protocol, 1 customer: against feast serve, 8", per_second("protocol", 8, FEAST), at_least=10),
        Ratio("peak memory of the process, MB", peak / MEGABYTE, at_most=80),
        Ratio("memory after a million more requests, against before", after / before, at_most=1.05),
        Ratio("process start to ready, seconds", start_seconds, at_most=1.0),
    ]


if __name__ == "__main__":
    sys.exit(main())

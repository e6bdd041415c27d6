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
from pathlib import Path

import httpx

from jobs.process import LOOPBACK
from tests.bench import calls, open_loop, processes, ratios, servers, wrk
from tests.bench.figures import MEGABYTE, Case, Figures, print_schedule, print_table
from tests.bench.plot import draw
from tests.bench.ratios import Ratio
from tests.bench.request import Target
from tests.bench.servers import BARE, CONSTANT, FEAST, FROZEN, OURS, PLAIN, Server
from tests.bench.tally import Tally
from tests.bench.world import World, filled
from tests.conftest import REPOSITORY

OUTPUT = REPOSITORY / "build" / "bench"
CUSTOMERS = 100_000
CONNECTIONS = (1, 8, 32)
ROUNDS = 3
SECONDS = 3
STARTS = 5
MILLION = 1_000_000
OPEN_LOOP_SECONDS = 10.0
# At a rate that every server can follow, and at one that only some can.
OPEN_LOOP_RATES = {OURS: (500, 2_000), FEAST: (500,), FROZEN: (500,), PLAIN: (500, 2_000)}


class Benchmark:
    """Servers over one world, and what was measured of them."""

    def __init__(self, world: World, running: dict[str, Server]) -> None:
        self._running, self._requests = running, calls.by_server(world)
        self._scripts = {
            key: wrk.script(world.folder / f"{number}.lua", requests)
            for number, (key, requests) in enumerate(self._requests.items())
        }
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
                print(f"round {number}: {case}: {load.per_second:,.0f}/s", file=sys.stderr, flush=True)
                if number:
                    self.figures[case].loads.append(load)
                    self.figures[case].cpu_seconds.append(cpu / load.requests)

    def _load(self, case: Case, seconds: int) -> tuple[wrk.Load, float]:
        server = self._running[case.server]
        before = processes.cpu_seconds(server.process.pid)
        load = wrk.run(server.url, self._scripts[case.server, case.call], case.connections, seconds)
        if load.failed != (load.requests if case.call == "unknown" else 0):
            raise RuntimeError(f"{case}: {load.failed} of {load.requests} requests failed")
        return load, processes.cpu_seconds(server.process.pid) - before

    def until(self, requests: int) -> tuple[int, int]:
        """Memory of the gateway before and after so many more single reads, in bytes."""
        server, sent = self._running[OURS], 0
        before = processes.memory_bytes(server.process.pid)
        while sent < requests:
            sent += self._load(Case(OURS, "one", 32), 5)[0].requests
        return before, processes.memory_bytes(server.process.pid)

    def on_schedule(self) -> dict[tuple[str, int], Tally]:
        """Latencies of single reads at fixed rates, by server and rate."""
        return {
            (name, rate): open_loop.run(
                Target(LOOPBACK, self._running[name].port), self._requests[name, "one"], rate, OPEN_LOOP_SECONDS
            )
            for name, rates in OPEN_LOOP_RATES.items()
            for rate in rates
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
        others = {
            FEAST: servers.feast(world, frozen=False),
            FROZEN: servers.feast(world, frozen=True),
            **{name: servers.application(world, name, body) for name in (PLAIN, CONSTANT, BARE)},
        }
        running = {OURS: ours} | {name: stack.enter_context(server) for name, server in others.items()}
        calls.compare(world, running)
        benchmark = Benchmark(world, running)
        benchmark.rounds(rounds, seconds)
        memory = benchmark.until(MILLION)
        scheduled = benchmark.on_schedule()
        peaks = {name: processes.peak_memory_bytes(server.process.pid) for name, server in running.items()}
    print_table(benchmark.figures, peaks)
    print_schedule(scheduled)
    draw({str(case): figures.per_second for case, figures in benchmark.figures.items()}, OUTPUT / "serving.svg")
    return _ratios(benchmark.figures, peaks[OURS], memory, start_seconds)


def _start_seconds(world: World) -> float:
    with servers.gateway(world) as started:
        seconds: float = started.start_seconds
        return seconds


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

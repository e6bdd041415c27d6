"""`python -m tests.bench.engine`: our jobs beside Feast's own and beside floors, on one machine in one run.

Each side is a process of its own over the same tables and the same Redis, one after the other in each round; what is
told are medians, and nothing unless all sides write the same. No ratio asks for stock Feast's defaults and for its
command on our own feature_store.yaml, so these run once.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.ending import interruptible
from jobs.local.servers import MissingServerError, find_postgres, find_redis
from tests.bench import (
    commands,
    contents,
    engine_costs,
    engine_ratios,
    events,
    feast_repositories,
    joined_rows,
    processes,
    ratios,
    training_frames,
)
from tests.bench.engine_figures import SideFigures, print_table, verification_share
from tests.bench.engine_sides import JOB, Side, Sides
from tests.bench.plot import draw
from tests.bench.ratios import Ratio
from tests.bench.world import World, ingested, run_job
from tests.conftest import REPOSITORY

OUTPUT = REPOSITORY / "build" / "bench"
CUSTOMERS = 100_000
MONTHS = 2
ROUNDS = 3
SIZES = (10_000, 30_000, 300_000, 1_000_000)
"""Beside the one that is compared; the floors and tuned Feast are measured again at the last."""


class Benchmark:
    """Sides over one world, in whose Redis our own job has left what every side is to leave there."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._expected = dict(contents.commands(world))
        self.figures: dict[str, SideFigures] = {}

    def compare(self, sides: Sequence[Side]) -> None:
        """Time each once, and compare what they write. RuntimeError if one fails or writes something else."""
        for side in sides:
            self._time(side)
            if side.empties:
                contents.require_equal(self._expected, dict(contents.commands(self._world)), f"{JOB} and {side.name}")
        if files := [side.output for side in sides if side.output is not None]:
            training_frames.require_equal(files)

    def repeat(self, sides: Sequence[Side], rounds: int) -> None:
        """Time each so many times more, one after the other in each round. RuntimeError if one fails."""
        for _ in range(rounds):
            for side in sides:
                self._time(side)

    def _time(self, side: Side) -> None:
        if side.empties:
            self._world.client.flushall()
        environment = {**self._world.platform.environment, "FEAST_USAGE": "False", **side.environment}
        log = self._world.folder / "logs" / f"{side.name}.log"
        servers = self._world.platform.postgres.pid, self._world.platform.redis.pid
        used = [processes.cpu_seconds(pid) for pid in servers]
        ended = commands.run(side.command, log=log, environment=environment)
        postgres, redis = (processes.cpu_seconds(pid) - before for pid, before in zip(servers, used, strict=True))
        said = events.read(ended.output)
        found = self.figures.setdefault(side.name, SideFigures(side.rows))
        found.whole.append(ended.seconds)
        found.started.append(events.seconds_between(said, side.first_event, events.FINISHED))
        found.cpu.append(ended.cpu_seconds)
        found.postgres_cpu.append(postgres)
        found.redis_cpu.append(redis)
        found.peaks.append(ended.peak_bytes)
        share = verification_share(said) if side.name == JOB else None
        found.verification += [] if share is None else [share]
        _tell(f"{side.name}: {found.started[-1]:.2f} s once started, {ended.seconds:.2f} s in all")


def main() -> int:
    """Run it all; 0 if every ratio was reached, 1 if one was missed, 2 if something is missing."""
    arguments = _parser().parse_args()
    with interruptible():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        find_postgres()
        find_redis()
    except MissingServerError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as a user of its own where we are root
        found, figures = _measure(Path(folder), arguments.customers, arguments.rounds)
        if arguments.large:
            found += _measure_sizes(Path(folder), figures)
    ratios.write(found, OUTPUT / "engine.json")
    print()
    for ratio in found:
        print(ratio.told())
    return 0 if all(ratio.is_reached for ratio in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help=f"how many there are (default {CUSTOMERS:,})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument(
        "--large", action=argparse.BooleanOptionalAction, default=True,
        help=f"also our job at {', '.join(f'{size:,}' for size in SIZES)} customers, Feast at the last (default: yes)",
    )  # fmt: skip
    return parser


def _measure(folder: Path, customers: int, rounds: int) -> tuple[list[Ratio], dict[str, SideFigures]]:
    with _world(folder / "compared", customers) as world:
        feast_repositories.create_login(world)
        sides = Sides(world)
        benchmark = Benchmark(world)
        once = [sides.default(), sides.through_feast()]
        always = [sides.tuned(), *sides.job(), *sides.floors(), *sides.histories()]
        benchmark.compare(always)
        benchmark.repeat(always, rounds - 1)
        benchmark.compare(once)  # last: what Feast records makes our next job import Feast, to read it
    figures = benchmark.figures
    print_table(figures)
    draw({name: found.rows_per_second for name, found in figures.items()}, OUTPUT / "engine.svg")
    return [*engine_ratios.of_materialization(figures), *engine_ratios.of_history(figures)], figures


def _measure_sizes(folder: Path, compared: dict[str, SideFigures]) -> list[Ratio]:
    by_size = {compared[JOB].rows: {JOB: compared[JOB]}}
    for customers in SIZES:
        with _world(folder / f"{customers}", customers) as world:
            sides = Sides(world)
            benchmark = Benchmark(world)
            benchmark.repeat(sides.job(), rounds=1)
            if customers == SIZES[-1]:
                feast_repositories.create_login(world)
                benchmark.repeat([*sides.partitioned(), *sides.floors(), sides.tuned()], rounds=1)
                costs = engine_costs.of_size(compared, benchmark.figures, sides.rows_in_reach())
        by_size[sides.rows] = benchmark.figures
    print()
    for _, figures in sorted(by_size.items()):
        print_table(figures)
    print(f"\n{costs.told()}")
    return list(engine_ratios.of_size(compared, by_size[max(by_size)]))


@contextmanager
def _world(folder: Path, customers: int) -> Iterator[World]:
    """Customers in both stores, as our own jobs bring them there. RuntimeError if some rows correct others."""
    _tell(f"bringing {customers:,} customers into the stores ...")
    with ingested(folder, customers, MONTHS) as world:
        with world.offline() as connection:
            # Else Postgres does it by itself some time later, beside one side and not the other.
            connection.execute("VACUUM (ANALYZE)")
            counted = connection.execute(joined_rows.amendments(joined_rows.tables_of(world.plan))).fetchone()
        if counted is None or counted[0]:
            raise RuntimeError("some rows of the sample correct others, which stock Feast would read wrong")
        run_job(world.platform, "materialize")
        yield world


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

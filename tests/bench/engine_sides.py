"""What the engine benchmark compares: commands over one offline store and one Redis, each a process of its own."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import pandas as pd

from tests.bench import feast_repositories, joined_rows
from tests.bench.contents import write_commands
from tests.bench.events import STARTED
from tests.bench.feast_repositories import DEFAULT, EMBEDDED, TUNED
from tests.bench.world import World, month_end
from tests.conftest import REPOSITORY

STOCK, STOCK_TUNED, JOB = "feast materialize", "feast materialize, tuned", "jobs.materialize"
FEW_PARTITIONS, MANY_PARTITIONS = 2, 10
THROUGH_FEAST, REPEAT = "feast materialize, our store", "jobs.materialize, nothing new"
REDIS_FLOOR, COPY_FLOOR = "Redis fed from a file", "COPY of the joined current rows"
HISTORY, HISTORY_EMBEDDED = "history, stock, SQL", "history, stock, embed_query"
HISTORY_FRAME, HISTORY_OURS = "history, stock, pandas", "history, our store"
HISTORY_BOUNDED, HISTORY_FLOOR = "training set, bounded memory", "history, COPY of the joined rows"
FLOORS = (REDIS_FLOOR, COPY_FLOOR, HISTORY_FLOOR)
STOCK_HISTORIES = (HISTORY, HISTORY_EMBEDDED, HISTORY_FRAME)

SERVICE = "churn_v1"
TTL = timedelta(days=45)
"""The ttl of the shipped views: how far back a materialization looks."""
_PYTHON: tuple[str | Path, ...] = (sys.executable, "-m")
_SHIPPED = REPOSITORY / "feature_repo"


def partitioned(count: int) -> str:
    """The name of our job's side in so many partitions."""
    return f"{JOB}, {count} partitions"


@dataclass(frozen=True)
class Side:
    """One of those compared."""

    name: str
    command: Sequence[str | Path]
    rows: int
    """How many rows it moves: of feature views, or of a training set."""
    empties: bool = False
    """Whether it finds an empty Redis, to fill."""
    first_event: str = STARTED
    """What it says when interpreter, imports and store are there."""
    output: Path | None = None
    """The Parquet file that it writes."""
    environment: dict[str, str] = field(default_factory=dict)


class Sides:
    """The commands over one world, whose Redis must hold what our own job has left there."""

    def __init__(self, world: World) -> None:
        self._world, self._tables = world, joined_rows.tables_of(world.plan)
        self._as_of = month_end(1)
        self._commands = world.folder / "redis.commands"
        self._entities, self.rows = write_commands(world, self._commands)

    def default(self) -> Side:
        """Feast as it comes."""
        return self._feast_materialize(STOCK, self._stock)

    def tuned(self) -> Side:
        """Feast as well as it can be set."""
        return self._feast_materialize(STOCK_TUNED, feast_repositories.apply(self._world, "tuned", TUNED))

    def through_feast(self) -> Side:
        """Feast's own command on the shipped feature_store.yaml, whatever engine and stores that names."""
        return self._feast_materialize(THROUGH_FEAST, _SHIPPED)

    def job(self) -> list[Side]:
        """Our job, and right after it the same again, which finds nothing new."""
        return [self._materialize(JOB), self._materialize(REPEAT, empties=False)]

    def partitioned(self) -> list[Side]:
        """Our job, its entities split into a few partitions and into many."""
        counts = (FEW_PARTITIONS, MANY_PARTITIONS)
        return [self._materialize(partitioned(count), "--partitions", str(count)) for count in counts]

    def rows_in_reach(self) -> int:
        """How many rows of all tables a materialization looks at."""
        counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in self._tables)
        with self._world.offline() as connection:
            (found,) = connection.execute(f"SELECT {counts}").fetchone() or (0,)
        return int(found)

    def floors(self) -> list[Side]:
        """What a materialization cannot do without: to read the rows once, and to write them once."""
        query = joined_rows.current(self._tables, self._as_of, self._as_of - TTL)
        redis = self._world.platform.redis
        feed = [*_PYTHON, "tests.bench.floors", "redis", self._commands, str(self._entities)]
        address = {"BENCH_REDIS": f"{redis.host}:{redis.port}:{redis.password}"}
        return [
            Side(COPY_FLOOR, [*_PYTHON, "tests.bench.floors", "copy", query], self.rows),
            Side(REDIS_FLOOR, feed, self.rows, empties=True, environment=address),
        ]

    def histories(self) -> list[Side]:
        """Training rows to Parquet: every customer at every month-end, with all features of the service."""
        query, frame = joined_rows.entities(self._tables), self._world.folder / "entities.parquet"
        rows = self._write_frame(query, frame)
        copy = [*_PYTHON, "tests.bench.floors", "copy"]
        embedded = feast_repositories.apply(self._world, "embedded", EMBEDDED)
        stock = self._stock
        return [
            self._history(HISTORY, rows, stock, "--query", query),
            self._history(HISTORY_EMBEDDED, rows, embedded, "--query", query),
            self._history(HISTORY_FRAME, rows, stock, "--frame", frame),
            self._history(HISTORY_OURS, rows, _SHIPPED, "--query", query),
            self._history(HISTORY_BOUNDED, rows, _SHIPPED, "--parts", "--query", query),
            Side(HISTORY_FLOOR, [*copy, joined_rows.at_month_ends(self._tables)], rows),
        ]

    @cached_property
    def _stock(self) -> Path:
        return feast_repositories.apply(self._world, "stock", DEFAULT)

    def _materialize(self, name: str, *flags: str, empties: bool = True) -> Side:
        command = [*_PYTHON, "jobs.materialize", *flags]
        return Side(name, command, self.rows, empties, first_event="materializing")

    def _feast_materialize(self, name: str, repository: Path) -> Side:
        window = (f"{self._as_of - TTL:%Y-%m-%dT%H:%M:%S}", f"{self._as_of:%Y-%m-%dT%H:%M:%S}")
        command = [*_PYTHON, "tests.bench.feast_job", "--chdir", repository, "materialize", *window]
        return Side(name, command, self.rows, empties=True)

    def _history(self, name: str, rows: int, repository: Path, *entities: str | Path) -> Side:
        output = self._world.folder / f"{name}.parquet"
        flags: list[str | Path] = [repository, output, "--service", SERVICE, *entities]
        return Side(name, [*_PYTHON, "tests.bench.feast_history", *flags], rows, output=output)

    def _write_frame(self, query: str, file: Path) -> int:
        with self._world.offline() as connection:
            rows = connection.execute(query).fetchall()
        pd.DataFrame(rows, columns=["user_id", "event_timestamp"]).to_parquet(file)
        return len(rows)

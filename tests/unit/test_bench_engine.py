"""The instruments of the engine benchmark: what they read off, what they compare, and what they ask for."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bench import (
    commands,
    contents,
    engine_costs,
    engine_ratios,
    events,
    feast_repositories,
    joined_rows,
    processes,
    training_frames,
)
from tests.bench.engine_figures import SideFigures, print_table, verification_share
from tests.bench.engine_sides import (
    COPY_FLOOR,
    HISTORY,
    HISTORY_BOUNDED,
    HISTORY_EMBEDDED,
    HISTORY_FRAME,
    HISTORY_OURS,
    JOB,
    REDIS_FLOOR,
    REPEAT,
    STOCK_TUNED,
    partitioned,
)
from tests.bench.events import Event
from tests.bench.ratios import Ratio
from tests.bench.world import month_end

TABLES = {"a": ["one", "two"], "b": ["three"]}


def test_marks_are_read_among_what_else_a_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    print("  0%|     | 0/4", end="")
    events.mark("started")
    print('{"event": cut\n[1, 2]\n{"other": 1}')
    events.mark("finished")
    said = events.read(capsys.readouterr().out)
    assert [event.name for event in said] == ["started", "finished"]
    assert 0 <= events.seconds_between(said, "started", "finished") < 1


def test_log_lines_of_jobs_are_events_too() -> None:
    lines = [json.dumps({"time": f"2024-01-31T00:00:0{second}.5Z", "event": "step"}) for second in (1, 3)]
    assert events.seconds_between(events.read("\n".join(lines)), "step", "step") == 2


@pytest.mark.parametrize("missing", ["started", "finished"])
def test_an_event_that_is_missing_is_named(missing: str) -> None:
    there = [Event(name, 0.0, {}) for name in ("started", "finished") if name != missing]
    with pytest.raises(RuntimeError, match=f"no {missing} among"):
        events.seconds_between(there, "started", "finished")


def test_a_command_is_measured_to_its_end_with_its_memory(tmp_path: Path) -> None:
    program = "import time; held = b'x' * 150_000_000; time.sleep(0.5); print('done')"
    ended = commands.run([sys.executable, "-c", program], log=tmp_path / "log", environment={})
    assert ended.output == "done\n"
    assert ended.seconds >= 0.5
    assert ended.cpu_seconds > 0
    assert 150_000_000 < ended.peak_bytes < 250_000_000


def test_the_cpu_time_of_a_server_counts_what_has_ended_below_it() -> None:
    worker = "import time\nwhile time.process_time() < 0.5: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert processes.cpu_seconds(server.pid) >= 0.5
        server.communicate(b"\n")


def test_a_command_that_fails_tells_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3:\nno luck"):
        commands.run([sys.executable, "-c", "print('no luck'); exit(3)"], log=tmp_path / "log", environment={})


def test_a_command_is_written_as_redis_reads_it() -> None:
    assert contents.command(b"HSET", b"k", b"") == b"*3\r\n$4\r\nHSET\r\n$1\r\nk\r\n$0\r\n\r\n"


def test_hashes_that_differ_are_named() -> None:
    contents.require_equal({b"a": b"1"}, {b"a": b"1"}, "these")
    for theirs in ({b"a": b"2"}, {}, {b"a": b"1", b"b": b"1"}):
        with pytest.raises(RuntimeError, match=r"these differ in 1 of 1 entities: b'[ab]'"):
            contents.require_equal({b"a": b"1"}, theirs, "these")


def test_nothing_at_all_is_not_equal() -> None:
    with pytest.raises(RuntimeError, match="0 of 0"):
        contents.require_equal({}, {}, "these")


def test_stock_feast_keeps_its_own_stores_whatever_is_tuned() -> None:
    environment = dict.fromkeys(("PGHOST", "PGDATABASE", "PGPASSWORD", "PGSSLMODE"), "x")
    environment |= {"PGPORT": "5432", "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": "redis:6379"}
    default = feast_repositories.settings(environment, feast_repositories.DEFAULT)
    tuned = feast_repositories.settings(environment, feast_repositories.TUNED)
    for found in (default, tuned):
        kinds = [found[section]["type"] for section in ("offline_store", "online_store", "batch_engine")]
        assert kinds == ["postgres", "redis", "local"]
    assert "materialization" not in default
    assert tuned["materialization"]["pull_latest_features"] is True
    assert tuned["online_store"]["connection_string"] == "redis:6379"


def test_each_table_is_read_with_the_columns_that_its_view_serves() -> None:
    views = {"v": {"source": "a", "features": {"one": {}, "two": {}}}, "w": {"source": "b", "features": {"three": {}}}}
    assert joined_rows.tables_of({"feature_views": views}) == TABLES


def test_the_joined_rows_hold_every_column_of_every_table() -> None:
    for query in (joined_rows.current(TABLES, month_end(1), month_end(2)), joined_rows.at_month_ends(TABLES)):
        assert all(word in query for word in ("one", "two", "three", "JOIN"))


def test_month_ends_are_last_days() -> None:
    assert (month_end(1) - month_end(2)).days in (28, 29, 30, 31)
    assert month_end(1).day >= 28


def test_training_rows_are_equal_whatever_the_order_of_rows_and_columns(tmp_path: Path) -> None:
    naive, zoned = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
    one = _frame(tmp_path / "one", {"user_id": ["a", "b"], "event_timestamp": pa.array([1, 2], naive), "x": [1, None]})
    two = _frame(tmp_path / "two", {"x": [None, 1], "event_timestamp": pa.array([2, 1], zoned), "user_id": ["b", "a"]})
    training_frames.require_equal([one, two])


@pytest.mark.parametrize("values", [[1, 2], [1, 0], [1]])
def test_training_rows_that_differ_name_the_column(tmp_path: Path, values: list[int]) -> None:
    instants = pa.array([1, 2], pa.timestamp("us"))
    one = _frame(tmp_path / "one", {"user_id": ["a", "b"], "event_timestamp": instants, "x": [1, None]})
    keys = ["a", "b"][: len(values)]
    two = _frame(tmp_path / "two", {"user_id": keys, "event_timestamp": instants[: len(values)], "x": values})
    with pytest.raises(RuntimeError, match=r"two and one differ in .*x"):
        training_frames.require_equal([one, two])


def test_training_rows_without_a_column_are_not_equal(tmp_path: Path) -> None:
    keys = {"user_id": ["a"], "event_timestamp": pa.array([1], pa.timestamp("us"))}
    with pytest.raises(RuntimeError, match="different columns"):
        training_frames.require_equal([_frame(tmp_path / "one", keys | {"x": [1]}), _frame(tmp_path / "two", keys)])


def test_verification_is_held_against_the_rest_of_the_load() -> None:
    groups = [{"seconds": 3.0, "of_which_verifying": 0.5}, {"seconds": 2.0, "of_which_verifying": 0.5}]
    events = [Event("verified", 0.0, fields) for fields in groups]
    assert verification_share(events) == 0.25
    assert verification_share([*events, Event("end_state_proven", 0.0, {"seconds": 1.0})]) == 0.5
    assert verification_share([Event("finished", 0.0, {})]) is None


def test_figures_are_medians_and_the_largest_peak() -> None:
    found = SideFigures(400, whole=[4, 2, 9], started=[2, 1, 8], cpu=[1], peaks=[7, 9, 8])
    assert (found.whole_seconds, found.rows_per_second, found.peak_bytes) == (4, 200, 9)


def test_the_table_has_a_line_for_each_side(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({JOB: _side(2.0), REPEAT: _side(1.0)})
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [JOB, REPEAT]


def test_materialization_is_held_against_tuned_feast_the_slower_floor_and_its_own_repeat() -> None:
    figures = {JOB: _side(2.0), STOCK_TUNED: _side(40.0), REPEAT: _side(0.5), COPY_FLOOR: _side(0.8),
               REDIS_FLOOR: _side(1.0)}  # fmt: skip
    figures[JOB].verification.append(0.2)
    assert _values(engine_ratios.of_materialization(figures)) == [20, 2, 41 / 3, 100, 0.2, 2, 4]


def test_training_rows_are_held_against_the_best_of_feast() -> None:
    figures = {HISTORY: _side(12.0), HISTORY_EMBEDDED: _side(10.0), HISTORY_FRAME: _side(15.0), HISTORY_OURS: _side(1)}
    assert _values(engine_ratios.of_history(figures | {HISTORY_BOUNDED: _side(2)})) == [10, 100, 5, 100]


def test_memory_is_held_against_that_of_the_compared_size() -> None:
    larger = SideFigures(4_000_000, peaks=[110_000_000])
    (ratio,) = engine_ratios.of_size({JOB: _side(1)}, {JOB: larger})
    assert ratio.value == pytest.approx(1.1)
    assert ratio.at_most == 1.1


def test_costs_are_those_of_the_rows_that_a_larger_size_has_more() -> None:
    ours = SideFigures(1_000_000, cpu=[1.0], postgres_cpu=[2.0], redis_cpu=[0.5])
    more = SideFigures(3_000_000, cpu=[4.0], postgres_cpu=[9.0], redis_cpu=[3.5])
    few, many = (SideFigures(3_000_000, postgres_cpu=[seconds]) for seconds in (10.0, 18.0))
    larger = {JOB: more, partitioned(2): few, partitioned(10): many}
    assert engine_costs.of_size({JOB: ours}, larger, 4_000_000) == engine_costs.Costs(3.5, 1.5, 1.5, 0.25)


def _side(seconds: float) -> SideFigures:
    return SideFigures(
        400_000, whole=[seconds + 1], started=[seconds], cpu=[seconds], postgres_cpu=[1], redis_cpu=[1],
        peaks=[100_000_000],
    )  # fmt: skip


def _values(ratios: Iterable[Ratio]) -> list[float]:
    return [ratio.value for ratio in ratios]


def _frame(file: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), file)
    return file

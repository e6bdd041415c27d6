"""`jobs.training_set` against a real Postgres: what it refuses, and what a set promises."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import VERSION, postgres, training_set
from jobs.errors import JobError
from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStoreConfig
from jobs.feast_plugins.sessions import arrow_snapshot, exported_snapshot
from jobs.local.servers import PostgresServer
from jobs.lock import writer_lock
from jobs.migrations import migrate_ledger, migrate_repository
from jobs.registry import Repository
from jobs.settings import load_settings
from jobs.training.leak_proof import LabelProver
from jobs.training.rows import RULES, find_labels
from jobs.training.window import LabelledInstant
from tests.conftest import REPOSITORY
from tests.databases import clone
from tests.file_servers import FtpServer
from tests.integration import job_process
from tests.integration.training_support import (
    DAY,
    FEATURES,
    FEBRUARY,
    JANUARY,
    MARCH,
    TABLES,
    Outcome,
    World,
    applied_template,
    is_whole,
    run_job,
)

GRACE = 7 * DAY
MICROSECOND = timedelta(microseconds=1)
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def template(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    with applied_template(postgres_server, migrated_template, REPOSITORY / "feature_repo") as name:
        yield name


@pytest.fixture
def world(postgres_server: PostgresServer, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "127.0.0.1:1")
    with (
        clone(postgres_server, template, monkeypatch),
        postgres.connect("test", autocommit=True) as connection,
    ):
        yield World(connection)


@pytest.fixture
def run(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*flags: str, folder: Path = tmp_path / "set", output: str | None = None) -> Outcome:
        return run_job(folder, capsys, *flags, output=output)

    return run_it


def small_world(world: World) -> None:
    """Two customers over three months; all labels but those of April are there."""
    for user, fee in (("ann", 29.85), ("bob", 70.0)):
        for number, as_of in enumerate((JANUARY, FEBRUARY, MARCH)):
            world.there(user, as_of, monthly_fee=fee + number, months_active=number, watch_hours_30d=10.0 * number)
            world.label(user, as_of, user == "bob" and as_of == MARCH)


# What is refused: exit 2, nothing written


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--start", "2024-03-31", "--end", "2024-01-31"], "--start 2024-03-31T00:00:00Z is after --end 2024-01-31"),
        (["--start", "2024-02-01", "--end", "2024-02-28"], "no month ends between --start"),
        (["--start", "soon"], "--start: 'soon' is not an instant; write a date like 2024-01-31"),
        (["--end", "2024-02-30"], "--end: '2024-02-30' is not an instant"),
        (
            ["--label-horizon", "1y"],
            "--label-horizon '1y' is not a horizon; write months like 1mo, days like 30d, or 0",
        ),
        (["--label-horizon=-1d"], "--label-horizon '-1d' is not a horizon"),
        (["--label-horizon", "3d"], "--label-horizon 3d reaches back"),
        (["--label-horizon", "99999mo"], "--label-horizon 99999mo leads past the year 9999"),
        (["--feature-service", "v9"], "--feature-service v9 is unknown; the registry holds churn_v1, churn_v2"),
    ],
)
def test_a_wrong_flag_is_refused_by_name_and_nothing_is_written(
    world: World, run: Run, flags: list[str], complaint: str
) -> None:
    small_world(world)
    outcome = run(*flags)
    assert outcome.code == 2
    assert complaint in outcome.line
    assert not list(outcome.folder.parent.iterdir())


def test_no_output_and_unknown_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, complaint in (([], "--output"), (["--output", "x", "--horizon", "0"], "--horizon")):
        with pytest.raises(SystemExit) as stopped:
            training_set.main(flags)
        assert stopped.value.code == 2
        assert complaint in capsys.readouterr().err


def test_an_output_that_cannot_be_replaced_is_refused_and_stays_as_it_was(
    world: World, run: Run, tmp_path: Path
) -> None:
    small_world(world)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for folder, complaint in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "below", "cannot be written: Not a directory"),
        (tmp_path / "full", "holds notes.txt, which is no part of a training set"),
        (tmp_path / ("long" * 100), "cannot be written: File name too long"),
        (Path("/proc"), "is a mount point, which cannot be replaced; name a folder inside it"),
        (Path("/proc/set"), "cannot be written"),
    ):
        outcome = run(folder=folder)
        assert outcome.code == 2
        assert f"--output {folder} {complaint}" in outcome.line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_a_url_whose_package_is_missing_is_refused_before_anything_is_read(world: World, run: Run) -> None:
    # An empty offline store would be bad data, exit 3.
    outcome = run(folder=Path("unused"), output="s3://bucket/set")
    assert outcome.code == 2
    assert "--output s3://bucket/set needs the Python package s3fs, which is not installed" in outcome.line


def test_a_password_in_the_outputs_url_is_refused_and_written_down_nowhere(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        training_set.main(["--output", "ftp://ann:hunter2@127.0.0.1/set"])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert "argument --output: a URL must not hold a password" in said.err
    assert "hunter2" not in said.out + said.err
    assert world.connection.execute("SELECT count(*) FROM ledger.runs").fetchone() == (0,)


@pytest.fixture
def own_repository(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped repository that a test may change."""
    folder = tmp_path_factory.mktemp("repository") / "feature_repo"
    shutil.copytree(REPOSITORY / "feature_repo", folder, ignore=shutil.ignore_patterns("__pycache__", "sample"))
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(folder))
    return folder


def test_a_repository_without_labels_is_refused(world: World, run: Run, own_repository: Path) -> None:
    (own_repository / "contracts" / "labels.yaml").unlink()
    outcome = run()
    assert outcome.code == 2
    assert "holds 0 contracts of kind labels; a training set needs exactly one" in outcome.line


def test_a_repository_with_another_offline_store_is_refused(world: World, run: Run, own_repository: Path) -> None:
    settings = own_repository / "feature_store.yaml"
    kept = [line for line in settings.read_text().splitlines() if "grace_days" not in line]
    stock = "type: postgres\n  host: x\n  database: x\n  user: x\n  password: x"
    type_line = next(line for line in kept if "jobs.feast_plugins.offline_store" in line)
    settings.write_text("\n".join(kept).replace(type_line, f"  {stock}"))
    outcome = run()
    assert outcome.code == 2
    assert "offline_store.type is postgres; training sets need jobs.feast_plugins.offline_store." in outcome.line


# Sets without rows: exit 3, the rule is named, what was there stays


def no_snapshot(world: World) -> None:
    world.there("ann", MARCH)


def known_too_late(world: World) -> None:
    world.there("ann", JANUARY, known=GRACE + MICROSECOND)
    world.label("ann", FEBRUARY, True)


def withdrawn(world: World) -> None:
    world.there("ann", JANUARY)
    world.gone("ann", JANUARY, known=GRACE)
    world.label("ann", FEBRUARY, True)


def no_label(world: World) -> None:
    world.there("ann", JANUARY)
    world.label("ann", FEBRUARY + 3 * DAY + MICROSECOND, True)
    world.label("ann", FEBRUARY - 3 * DAY - MICROSECOND, True)


def withdrawn_label(world: World) -> None:
    world.there("ann", JANUARY)
    world.label("ann", FEBRUARY, True)
    world.label("ann", FEBRUARY, None, known=2 * DAY, tombstone=True)


def null_label(world: World) -> None:
    world.there("ann", JANUARY)
    world.label("ann", FEBRUARY, None)


@pytest.mark.parametrize(
    ("fill", "rule"),
    [
        (no_snapshot, "rule no_snapshot removed all"),
        (known_too_late, "rule known_too_late removed 1"),
        (withdrawn, "rule withdrawn removed 1"),
        (no_label, "rule no_label removed 1"),
        (withdrawn_label, "rule no_label removed 1"),
        (null_label, "rule null_label removed 1"),
    ],
)
def test_a_set_without_rows_fails_naming_the_rule_and_leaves_the_former_set(
    world: World, run: Run, fill: Callable[[World], None], rule: str
) -> None:
    small_world(world)
    former = run().files
    for table in ("subscriptions_profile_snapshots", "usage_agg_30d_snapshots", "payments_agg_90d_snapshots",
                  "support_agg_90d_snapshots", "churn_labels"):  # fmt: skip
        world.connection.execute(f"TRUNCATE {table}")
    fill(world)
    outcome = run("--start", "2024-01-31", "--end", "2024-01-31")
    assert outcome.code == 3
    assert rule in outcome.line
    assert outcome.files == former


@pytest.mark.parametrize("window", [(), ("--start", "2024-01-31", "--end", "2024-01-31")])
def test_an_empty_offline_store_fails_until_a_snapshot_is_there(run: Run, window: tuple[str, ...]) -> None:
    outcome = run(*window)
    assert outcome.code == 1
    assert "the offline store holds no snapshot yet" in outcome.line


def test_a_window_past_the_newest_snapshot_fails_instead_of_leaving_its_months_out(world: World, run: Run) -> None:
    small_world(world)
    former = run().files
    outcome = run("--start", "2024-01-31", "--end", "2026-02-15")
    assert outcome.code == 1
    assert re.search(r"last month-end is 2026-01-31\S+, and the newest snapshot is of 2024-\S+; ingest", outcome.line)
    assert outcome.files == former


# Which rows


def test_every_month_end_in_the_window_is_an_event_timestamp_of_those_who_were_there_then(
    world: World, run: Run
) -> None:
    small_world(world)
    world.there("cid", FEBRUARY)
    world.label("cid", MARCH, True)
    world.there("between", FEBRUARY + DAY)
    world.label("between", MARCH, True)
    world.label("unseen", MARCH, True)
    outcome = run("--start", "2024-01-31", "--end", "2024-04-29")
    assert outcome.code == 0
    assert outcome.pairs() == [
        ("ann", JANUARY), ("ann", FEBRUARY), ("bob", JANUARY), ("bob", FEBRUARY), ("cid", FEBRUARY)
    ]  # fmt: skip
    assert run("--start", "2024-02-29", "--end", "2024-03-30T23:59:59Z").pairs() == [
        ("ann", FEBRUARY), ("bob", FEBRUARY), ("cid", FEBRUARY)
    ]  # fmt: skip


def test_the_window_is_by_default_all_that_the_offline_store_holds(world: World, run: Run) -> None:
    small_world(world)
    assert run().manifest["window"] == {"start": "2024-01-31T00:00:00Z", "end": "2024-03-31T00:00:00Z"}


def test_each_rule_counts_what_it_removed_and_the_counts_add_up(world: World, run: Run) -> None:
    small_world(world)
    for number, fill in enumerate((known_too_late, withdrawn, no_label, null_label)):
        fill(Renamed(world, f"user-{number}"))
    outcome = run("--start", "2024-01-31", "--end", "2024-02-29")
    january, february = outcome.manifest["event_timestamps"]
    assert january == {
        "event_timestamp": "2024-01-31T00:00:00Z",
        "candidates": 6,
        "removed": {"known_too_late": 1, "withdrawn": 1, "no_label": 1, "null_label": 1},
        "rows": 2,
    }
    assert (february["candidates"], february["rows"]) == (2, 2)
    assert set(january["removed"]) == set(RULES) == set(outcome.manifest["rules"])
    assert "(known_too_late removed 1, withdrawn removed 1, no_label removed 1, null_label removed 1)" in outcome.line


def test_who_is_in_only_one_view_is_in_the_set_with_nulls_from_the_others(world: World, run: Run) -> None:
    world.connection.execute(
        "INSERT INTO payments_agg_90d_snapshots VALUES ('ann', %s, %s, false, 2)", (JANUARY, JANUARY + DAY)
    )
    world.label("ann", FEBRUARY, False)
    row = run().rows[0]
    assert (row["failed_payments_90d"], row["monthly_fee"]) == (2, None)


# Which features


def test_a_row_shows_what_was_known_by_its_instant_and_the_grace(world: World, run: Run) -> None:
    world.there("ann", JANUARY, monthly_fee=1.0)
    world.there("ann", JANUARY, monthly_fee=2.0, known=GRACE)
    world.there("ann", JANUARY, monthly_fee=3.0, known=GRACE + MICROSECOND)
    world.label("ann", FEBRUARY, False)
    assert run().rows[0]["monthly_fee"] == 2.0


def test_what_never_became_known_is_known_too_late_and_what_always_was_is_not(world: World, run: Run) -> None:
    for user, since in (("ann", "infinity"), ("bob", "-infinity")):
        world.connection.execute(
            "INSERT INTO payments_agg_90d_snapshots VALUES (%s, %s, %s, false, 2)", (user, JANUARY, since)
        )
        world.label(user, FEBRUARY, False)
    outcome = run()
    assert outcome.pairs() == [("bob", JANUARY)]
    assert "(known_too_late removed 1)" in outcome.line


def test_columns_are_key_instant_features_in_the_services_order_and_label(world: World, run: Run) -> None:
    small_world(world)
    first, *_ = run().rows
    assert list(first) == ["user_id", "event_timestamp", *FEATURES, "churn_label"]
    full = run("--full-feature-names").rows[0]
    assert list(full)[2] == "subs_profile_fv__months_active"
    assert list(full.values()) == list(first.values())


def test_features_computed_on_demand_are_in_the_set(world: World, run: Run) -> None:
    small_world(world)
    rows = run("--feature-service", "churn_v2").rows
    fees = [row["fee_per_watch_hour"] for row in rows]
    assert fees == [None, 30.85 / 10, None, 71.0 / 10]
    assert list(rows[0])[-3:] == ["fee_per_watch_hour", "watch_hours_per_device", "churn_label"]


def test_values_are_the_same_in_both_files_and_null_is_blank(world: World, run: Run) -> None:
    world.there("ann", JANUARY, monthly_fee=29.85, paperless_billing=True, net_service='a "quoted", word', skips_7d=0)
    world.label("ann", FEBRUARY, False)
    outcome = run()
    row, text = outcome.rows[0], outcome.csv_rows[0]
    assert (row["monthly_fee"], row["paperless_billing"], row["plan_stream_tv"]) == (29.85, True, None)
    assert (text["monthly_fee"], text["paperless_billing"], text["plan_stream_tv"]) == ("29.85", "True", "")
    assert (text["net_service"], text["skips_7d"], text["churn_label"]) == ('a "quoted", word', "0", "False")
    assert (text["user_id"], text["event_timestamp"]) == ("ann", "2024-01-31T00:00:00Z")


# Which labels


def test_months_lead_from_a_months_end_to_a_months_end(world: World, run: Run) -> None:
    small_world(world)
    assert [row["churn_label"] for row in run("--start", "2024-02-29", "--end", "2024-02-29").rows] == [False, True]
    two = run("--label-horizon", "2mo", "--start", "2024-01-31", "--end", "2024-01-31")
    assert [row["churn_label"] for row in two.rows] == [False, True]


@pytest.mark.parametrize("days", [-3.0, 3.0])
def test_a_label_within_three_days_of_the_horizon_counts(world: World, run: Run, days: float) -> None:
    world.there("ann", JANUARY)
    world.label("ann", JANUARY + 30 * DAY + days * DAY, True)
    proof = run("--label-horizon", "30d").manifest["proof"]["labels"]
    assert proof["min_label_at_minus_target"] == proof["max_label_at_minus_target"] == days * 86400


def test_the_label_that_was_learned_last_counts_and_of_those_learned_at_once_the_closest(
    world: World, run: Run
) -> None:
    for user in ("ann", "bob", "cid"):
        world.there(user, JANUARY)
    world.label("ann", FEBRUARY, True)
    world.label("ann", FEBRUARY, False, known=9 * DAY)
    world.label("bob", FEBRUARY - DAY, True, known=2 * DAY)
    world.label("bob", FEBRUARY + 2 * DAY, False, known=-DAY)
    world.label("cid", FEBRUARY, True, known=4 * DAY)
    world.label("cid", FEBRUARY - 2 * DAY, False, known=9 * DAY)
    assert [row["churn_label"] for row in run("--end", "2024-01-31").rows] == [False, True, False]


def test_horizon_0_takes_the_label_of_the_same_instant_alone(world: World, run: Run) -> None:
    small_world(world)
    world.there("near", MARCH)
    world.label("near", MARCH + DAY, True)
    outcome = run("--label-horizon", "0", "--start", "2024-03-31", "--end", "2024-03-31")
    assert [(row["user_id"], row["churn_label"]) for row in outcome.rows] == [("ann", False), ("bob", True)]


# The same bytes


def test_the_same_inputs_give_the_same_bytes_wherever_the_rows_lie_and_however_they_are_found(
    world: World, run: Run, tmp_path: Path
) -> None:
    for number in random.Random(7).sample(range(1000), 60):
        user = f"{'zZéäA'[number % 5]}{number}"
        for as_of in (JANUARY, FEBRUARY):
            world.there(user, as_of, monthly_fee=number / 7, net_service=None if number % 3 else "DSL")
            world.label(user, as_of, bool(number % 2))
    first = run("--feature-service", "churn_v2")
    again = run("--feature-service", "churn_v2", folder=tmp_path / "again")
    world.shuffle()
    shuffled = run("--feature-service", "churn_v2", folder=tmp_path / "shuffled")
    for way in ("enable_mergejoin", "enable_nestloop", "enable_incremental_sort", "enable_gathermerge"):
        world.connection.execute(f"ALTER DATABASE {os.environ['PGDATABASE']} SET {way} = off")
    otherwise = run("--feature-service", "churn_v2", folder=tmp_path / "otherwise")
    assert first.code == 0
    assert first.files == again.files == shuffled.files == otherwise.files
    keys = [(user.encode(), at) for user, at in first.pairs()]
    assert keys == sorted(keys)
    assert len(keys) == 60


@pytest.mark.parametrize("rows", [1, 7])
def test_the_bytes_do_not_depend_on_how_many_parts_there_were(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    for number in random.Random(7).sample(range(1000), 30):
        for as_of in (JANUARY, FEBRUARY):
            world.there(f"{'zZéäA'[number % 5]}{number}", as_of, monthly_fee=number / 7)
            world.label(f"{'zZéäA'[number % 5]}{number}", as_of, bool(number % 2))
    monkeypatch.setattr("jobs.training.files.ROW_GROUP_ROWS", 10)
    whole = run("--feature-service", "churn_v2")
    monkeypatch.setattr("jobs.training.proven_rows.PART_ROWS", rows)
    in_parts = run("--feature-service", "churn_v2", folder=tmp_path / "parts")
    assert whole.code == 0
    assert whole.files == in_parts.files
    assert pq.ParquetFile(whole.folder / "training_df.parquet").num_row_groups == 3


def test_the_memory_that_a_run_takes_does_not_grow_with_the_set(world: World, run: Run, tmp_path: Path) -> None:
    peaks = []
    for customers in (5_000, 50_000):
        for table in (*TABLES, "churn_labels"):
            instant = "label_at" if table == "churn_labels" else "as_of"
            world.connection.execute(f"TRUNCATE {table}")
            world.connection.execute(
                f"""INSERT INTO {table} (user_id, {instant}, created_at)
                    SELECT 'customer-' || n, t, t FROM generate_series(1, %s) AS n, unnest(%s) AS t""",
                (customers, [JANUARY, FEBRUARY]),
            )
        world.connection.execute("UPDATE churn_labels SET churn_label = true")
        ended = job_process.run(
            "tests.integration.small_parts", "--output", str(tmp_path / f"{customers}"), "--end", "2024-01-31"
        )
        assert ended.code == 0, ended.err
        assert f"training_set: {customers:,} rows" in ended.out
        peaks.append(int(re.search(r"peak (\d+) MB", ended.err).group(1)))  # type: ignore[union-attr]
    assert peaks[1] < peaks[0] + 30


# The manifest and its proof


def test_the_manifest_tells_what_the_files_hold(world: World, run: Run) -> None:
    small_world(world)
    outcome = run()
    manifest, rows = outcome.manifest, outcome.rows
    assert manifest["rows"] == len(rows) == 4
    assert manifest["feature_service"] == "churn_v1"
    assert (manifest["label"], manifest["label_horizon"], manifest["grace_seconds"]) == ("churn_label", "1mo", 604800)
    assert [about["name"] for about in manifest["columns"]] == list(rows[0])
    assert {about["name"]: about["nulls"] for about in manifest["columns"]} == {
        name: sum(row[name] is None for row in rows) for name in rows[0]
    }
    for name, about in manifest["files"].items():
        assert about["sha256"] == hashlib.sha256(outcome.files[name]).hexdigest()
    assert len(manifest["registry_sha256"]) == 64
    assert manifest["platform_version"] == VERSION


def test_the_proof_states_how_close_to_its_limits_each_view_comes(world: World, run: Run) -> None:
    small_world(world)
    proof = run().manifest["proof"]
    assert proof["labels"] == {
        "rows": 4, "tolerance": 3 * 86400, "min_label_at_minus_target": 0, "max_label_at_minus_target": 0
    }  # fmt: skip
    assert proof["feature_views"]["subs_profile_fv"] == {
        "rows": 4, "max_as_of_minus_event_timestamp": 0, "max_created_at_minus_latest_allowed": -6 * 86400
    }  # fmt: skip
    # Nothing but NULLs: the view shows nothing that had to be known.
    assert proof["feature_views"]["support_agg_90d_fv"]["rows"] == 0


@pytest.mark.parametrize(
    ("offline_store", "complaint"),
    [
        ("ForgetfulOfflineStore", "a value of subs_profile_fv became known too late for its row"),
        ("ClairvoyantOfflineStore", "a value of subs_profile_fv is newer than its row"),
        ("InventiveOfflineStore", "4 rows show values of subs_profile_fv that its source holds nowhere"),
        ("MultiplyingOfflineStore", "the join gave 8 rows for 4 of the population"),
    ],
)
def test_an_offline_store_that_leaks_is_found_out_and_nothing_is_written(
    world: World, run: Run, own_repository: Path, offline_store: str, complaint: str
) -> None:
    small_world(world)
    world.there("ann", JANUARY, monthly_fee=99.0, known=GRACE + DAY)
    settings = own_repository / "feature_store.yaml"
    ours = "jobs.feast_plugins.offline_store.PointInTimePostgreSQLOfflineStore"
    settings.write_text(settings.read_text().replace(ours, f"tests.integration.leaky_stores.{offline_store}"))
    outcome = run()
    assert outcome.code == 1
    assert complaint in outcome.line
    assert not list(outcome.folder.parent.iterdir())


@pytest.mark.parametrize(
    ("label_at", "complaint"),
    [
        (FEBRUARY + 4 * DAY, "a label lies after its window, by 86400 s"),
        (FEBRUARY - 5 * DAY, "a label lies before its window, by 172800 s"),
        (None, "1 labels are nowhere in churn_labels"),
    ],
)
def test_a_label_from_outside_its_window_is_found_out(
    world: World, repository: Path, label_at: datetime | None, complaint: str
) -> None:
    if label_at:
        world.label("ann", label_at, True)
    instants = pa.array([JANUARY], pa.timestamp("us", "UTC"))
    store_config = PointInTimePostgreSQLOfflineStoreConfig(db_schema="offline")
    table = pa.table({"user_id": ["ann"], "event_timestamp": instants, "churn_label": [True]})
    nothing = {"__at": instants[:0], "__created_at": instants[:0], "__tombstone": pa.array([], pa.bool_())}
    in_reach = pa.table({"user_id": pa.array([], pa.string()), "churn_label": pa.array([], pa.bool_()), **nothing})
    with exported_snapshot(store_config) as _, arrow_snapshot(store_config) as snapshot:
        prover = LabelProver(find_labels(repository), [LabelledInstant(JANUARY, FEBRUARY, 3 * DAY)], snapshot)
        with pytest.raises(JobError, match=complaint):
            prover.add(table, in_reach)


# Another team's repository


OTHER_FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Array, Float32, Int64, String

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.STRING)
stock = FeatureView(
    name="stock_fv", entities=[shop, item], ttl=timedelta(0),
    schema=[Field(name="shop", dtype=Int64), Field(name="item", dtype=String), Field(name="price", dtype=Float32),
            Field(name="sizes", dtype=Array(Int64)), Field(name="name", dtype=String)],
    source=PostgreSQLSource(name="stock", timestamp_field="at", field_mapping={"cost": "price", "s": "shop"},
                            query="SELECT s, item, at, cost, sizes, name FROM stock WHERE name <> '{}'"))
shops = FeatureView(
    name="shops_fv", entities=[shop], schema=[Field(name="shop", dtype=Int64), Field(name="sold", dtype=String)],
    source=PostgreSQLSource(name="shops", field_mapping={"name": "sold"}, table="shops", timestamp_field="as_of",
                            created_timestamp_column="created_at"))
demand_v1 = FeatureService(name="demand_v1", features=[stock, shops], tags={"default": "true"})
"""
OTHER_TABLES = """
CREATE TABLE stock (s bigint, item text, at timestamptz, cost double precision, sizes bigint[], name text);
CREATE TABLE shops (shop bigint, as_of timestamptz, created_at timestamptz, name text);
CREATE TABLE demand (item text, shop bigint, sold_at timestamptz, created_at timestamptz, tombstone boolean,
                     sold double precision);
"""
OTHER_CONTRACT = """
export: demand
table: demand
kind: labels
key: [item, shop]
instant: sold_at
label: sold
columns: {item: {type: string}, shop: {type: integer}, sold: {type: number}}
"""


@pytest.fixture
def other_team(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """A repository of other entities, tables and names, with two keys, two rows and their labels."""
    folder = tmp_path_factory.mktemp("other") / "repository"
    for name, text in (("demand_features.py", OTHER_FEATURES), ("migrations/0001.sql", OTHER_TABLES),
                       ("contracts/demand.yaml", OTHER_CONTRACT)):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(REPOSITORY / "feature_repo" / "feature_store.yaml", folder)
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(folder))
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "127.0.0.1:1")
    with clone(postgres_server, "template1", monkeypatch), postgres.connect("test", autocommit=True) as connection:
        migrate_ledger(connection)
        migrate_repository(connection, folder)
        Repository(load_settings()).apply()
        yield connection


def test_a_repository_of_other_keys_tables_and_names_needs_nothing_else(
    other_team: psycopg.Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shop_number, item, price in ((1, "23", 0.1), (12, "3", 0.2)):
        other_team.execute(
            "INSERT INTO stock VALUES (%s, %s, %s, %s, '{1,2}', 'x')", (shop_number, item, JANUARY, price)
        )
        other_team.execute("INSERT INTO demand VALUES (%s, %s, %s, %s, false, %s)",
                           (item, shop_number, FEBRUARY, FEBRUARY, price * 10))  # fmt: skip
    other_team.execute("INSERT INTO shops VALUES (12, %s, %s, 'y')", (JANUARY - 99 * DAY, JANUARY))
    outcome = run_job(tmp_path / "set", capsys)
    assert outcome.code == 2
    assert "gives two columns the name sold; --full-feature-names" in outcome.line
    outcome = run_job(tmp_path / "set", capsys, "--full-feature-names", "--start", "2024-01-31")
    assert outcome.code == 0, outcome.line
    table = pq.read_table(outcome.folder / "training_df.parquet")
    assert table.schema.field("stock_fv__price").type == pa.float32()
    rows = [tuple(row.values()) for row in table.to_pylist()]
    tenth, fifth = (np.float32(price) for price in (0.1, 0.2))
    assert rows == [
        ("23", 1, JANUARY, tenth, [1, 2], "x", None, 1.0),
        ("3", 12, JANUARY, fifth, [1, 2], "x", "y", 2.0),
    ]
    assert outcome.manifest["proof"]["feature_views"]["stock_fv"]["max_created_at_minus_latest_allowed"] is None


# Runs beside others, and runs that end early


def test_it_needs_no_writer_lock(world: World, run: Run) -> None:
    small_world(world)
    with writer_lock(10):
        assert run().code == 0


def test_a_new_set_replaces_the_former_one_whole(world: World, run: Run) -> None:
    small_world(world)
    former = run()
    inode = former.folder.stat().st_ino
    world.label("ann", FEBRUARY, True, known=5 * DAY)
    new = run()
    assert is_whole(new.folder)
    assert [row["churn_label"] for row in new.rows] == [True, False, False, True]
    assert new.folder.stat().st_ino != inode
    assert [path.name for path in new.folder.parent.iterdir()] == ["set"]


def is_writing(parent: Path) -> bool:
    """Whether a new set's folder has files; folders come and go while this looks."""
    try:
        return any(parent.glob(".set.partial-*/*"))
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_ended_while_it_writes_leaves_a_whole_set_and_the_next_one_cleans_up(
    world: World, run: Run, ending: signal.Signals
) -> None:
    small_world(world)
    former = run()
    before = former.files
    world.label("ann", FEBRUARY, True, known=5 * DAY)
    child = subprocess.Popen(
        [sys.executable, "-m", "jobs.training_set", "--output", str(former.folder)],
        cwd=REPOSITORY, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while child.poll() is None and not is_writing(former.folder.parent):
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    child.send_signal(ending)
    child.communicate(timeout=30)
    assert is_whole(former.folder)
    assert former.files == before or former.manifest["rows"] == 4
    after = run()
    assert after.code == 0
    assert after.files != before
    assert [path.name for path in former.folder.parent.iterdir()] == ["set"]


def test_a_set_at_a_url_is_the_one_that_a_folder_gets(world: World, run: Run, tmp_path: Path) -> None:
    small_world(world)
    here = run()
    server = FtpServer(tmp_path / "ftp")
    try:
        login = {"FSSPEC_FTP_USERNAME": server.user, "FSSPEC_FTP_PASSWORD": server.password}
        ended = job_process.run("jobs.training_set", "--output", server.url("sets/churn"), environment=login)
    finally:
        server.stop()
    assert ended.code == 0, ended.err
    assert f" in {server.url('sets/churn')} (" in ended.out
    assert server.password not in ended.out + ended.err
    assert Outcome(0, ended.out, server.root / "sets" / "churn", "").files == here.files
    (details,) = world.connection.execute("SELECT details ->> 'output' FROM ledger.runs ORDER BY run_id").fetchall()[1]
    assert details == server.url("sets/churn")


class Renamed(World):
    """A world that takes each customer for `user`."""

    def __init__(self, world: World, user: str) -> None:
        super().__init__(world.connection)
        self.user = user

    def _insert(self, table: str, row: dict[str, Any], more: dict[str, object]) -> None:
        super()._insert(table, row | {"user_id": self.user}, more)

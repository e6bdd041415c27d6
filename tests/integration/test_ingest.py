"""`jobs.ingest` against a real Postgres: what it refuses, and what the tables show after it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from feature_repo.sample import Export, exports, generate, write_export
from jobs import ingest, postgres
from jobs.exports.contract import load_contracts
from jobs.lock import writer_lock

AS_OF = "2024-01-31"
DELIVERED = "2024-02-02"
LATER = "2024-02-03"
GOLDEN = "7590-VHVEG"
TABLES = {
    "users": "users_profile_snapshots",
    "subscriptions": "subscriptions_profile_snapshots",
    "usage_agg_30d": "usage_agg_30d_snapshots",
    "payments_agg_90d": "payments_agg_90d_snapshots",
    "support_agg_90d": "support_agg_90d_snapshots",
    "labels": "churn_labels",
}
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(migrated_database: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the job; returns its exit code and its one line."""

    def run_it(folder: Path, *flags: str, as_of: str = AS_OF, delivered_at: str = DELIVERED) -> tuple[int, str]:
        code = ingest.main([str(folder), "--as-of", as_of, "--delivered-at", delivered_at, *flags])
        output = capsys.readouterr()
        assert output.out.count("\n") == 1
        assert "Traceback" not in output.err
        return code, output.out

    return run_it


@pytest.fixture
def offline(migrated_database: str) -> Iterator[psycopg.Connection]:
    """A connection that sees what is committed."""
    with postgres.connect("test", autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def month() -> Export:
    return next(generate(months=1, customers=40))


@pytest.fixture
def folder(tmp_path: Path, month: Export) -> Path:
    """The first 40 customers as they were delivered for 2024-01-31."""
    return write_export(month, tmp_path)


def _edit(folder: Path, export: str, line: int, old: str, new: str) -> None:
    """Replace text on one line (from 1) of an export's CSV."""
    file = folder / f"{export}.csv"
    lines = file.read_text().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    file.write_text("".join(lines))


def _drop_line(folder: Path, line: int, *names: str) -> None:
    for export in names or TABLES:
        file = folder / f"{export}.csv"
        lines = file.read_text().splitlines(keepends=True)
        del lines[line - 1]
        file.write_text("".join(lines))


def _dump(offline: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {table: offline.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in TABLES.values()}


def _history(offline: psycopg.Connection, table: str, user: str) -> list[tuple[datetime, bool]]:
    return offline.execute(
        f"SELECT created_at, tombstone FROM {table} WHERE user_id = %s ORDER BY created_at", (user,)
    ).fetchall()


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


@pytest.mark.parametrize(
    ("as_of", "delivered_at", "sentence"),
    [
        ("31.01.2024", DELIVERED, "'31.01.2024' is not an instant"),
        (AS_OF, "yesterday", "'yesterday' is not an instant"),
        (TOMORROW, TOMORROW, "--as-of .* is in the future"),
        (AS_OF, TOMORROW, "--delivered-at .* is in the future"),
        (AS_OF, "2024-01-30", "--delivered-at 2024-01-30T00:00:00Z is before --as-of 2024-01-31T00:00:00Z"),
        ("2024-01-30", DELIVERED, "AS_OF says 2024-01-31T00:00:00Z, but --as-of is 2024-01-30T00:00:00Z"),
    ],
)
def test_an_instant_that_cannot_be_right_exits_2_and_changes_nothing(
    run: Run, offline: psycopg.Connection, folder: Path, as_of: str, delivered_at: str, sentence: str
) -> None:
    code, line = run(folder, as_of=as_of, delivered_at=delivered_at)
    assert code == 2
    _assert_says(line, sentence)
    assert not any(_dump(offline).values())


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--lock-wait", "soon", "'soon' is not a number of seconds"),
        ("--lock-wait", "-1", "'-1' is not a number of seconds from 0 to 86400"),
    ],
)
def test_a_wrong_flag_exits_2(
    folder: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        ingest.main([str(folder), "--as-of", AS_OF, f"{flag}={value}"])
    assert exited.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_that_is_not_there_exits_2(run: Run, tmp_path: Path) -> None:
    code, line = run(tmp_path / "nowhere")
    assert code == 2
    assert f"{tmp_path / 'nowhere'} is not a folder" in line


def test_a_repository_without_contracts_exits_2(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(tmp_path))
    code, line = run(folder)
    assert code == 2
    assert f"{tmp_path / 'contracts'} holds no *.yaml" in line


def test_an_as_of_file_without_an_instant_exits_2_by_its_name(run: Run, folder: Path) -> None:
    (folder / "AS_OF").write_bytes(b"\xff\xfe")
    code, line = run(folder)
    assert code == 2
    assert f"{folder / 'AS_OF'}: " in line


@pytest.mark.parametrize(
    ("export", "line", "old", "new", "sentence"),
    [
        ("subscriptions", 2, "29.85", "29,85", "subscriptions.csv line 2: has 10 values where the header has 9"),
        (
            "subscriptions",
            3,
            "34",
            "many",
            "subscriptions.csv line 3, column months_active: 'many' is not a whole number",
        ),
        ("subscriptions", 3, "34", "34.0", "line 3, column months_active: '34.0' is not a whole number"),
        ("subscriptions", 3, "34", "-1", "line 3, column months_active: -1 is less than 0"),
        (
            "subscriptions",
            3,
            "34",
            "99999999999999999999",
            "months_active: '99999999999999999999' is not a whole number",
        ),
        ("subscriptions", 3, "34", "", "line 3, column months_active: is blank, which this column must not be"),
        ("subscriptions", 2, "29.85", "nan", "line 2, column monthly_fee: 'nan' is not a number"),
        ("subscriptions", 2, "29.85", "1e999", "line 2, column monthly_fee: inf is not finite"),
        ("subscriptions", 2, "29.85", "29.85 ", "line 2, column monthly_fee: '29.85 ' is not a number"),
        ("subscriptions", 2, "29.85", "10000.01", "line 2, column monthly_fee: 10000.01 is more than 10000"),
        ("subscriptions", 2, "DSL", "Dsl", "line 2, column net_service: 'Dsl' is none of DSL, Fiber optic, No"),
        ("subscriptions", 2, "True", "Yes", "line 2, column paperless_billing: 'Yes' is not True or False"),
        ("subscriptions", 2, "True", " ", "line 2, column paperless_billing: ' ' is not True or False"),
        ("subscriptions", 2, "True", "1", "line 2, column paperless_billing: '1' is not True or False"),
        ("users", 2, "2023-", "2023/", "line 2, column signup_date: .* is not a date like 2024-01-31"),
        ("users", 2, "2023-12", "2023-13", "line 2, column signup_date: .* is not a date"),
        ("users", 2, "2023-12", "1923-12", "line 2, column signup_date: 1923-12-.. is less than 1990-01-01"),
        ("users", 2, GOLDEN, "", "users.csv line 2, column user_id: is blank"),
        ("users", 2, GOLDEN, f" {GOLDEN}", "line 2, column user_id: ' 7590-VHVEG' starts or ends with white space"),
        ("users", 2, GOLDEN, "75\x0090", r"line 2, column user_id: '75\\x0090' holds a control character"),
        ("users", 2, GOLDEN, '"75\n90"', r"line 2, column user_id: '75\\n90' holds a control character"),
        ("users", 2, GOLDEN, "x" * 65, "line 2, column user_id: 'xxx.* has over 64 characters"),
        ("users", 2, GOLDEN, "x", "users.csv line 2, column user_id: 'x' has no row in labels.csv"),
        (
            "users",
            3,
            "5575-GNVDE",
            GOLDEN,
            "users.csv line 3, column user_id: '7590-VHVEG' is there before, at users.csv line 2",
        ),
        ("users", 1, "user_gender", "gender", "users.csv line 1: column user_gender is missing"),
        ("users", 1, "user_gender", "gender", "users.csv line 1: column 'gender' is not in the contract"),
        ("users", 1, "user_gender", "has_family", "users.csv line 1: column has_family is there 2 times"),
        ("labels", 2, "False", "", "labels.csv line 2, column churn_label: is blank"),
    ],
)
def test_a_value_against_the_contract_exits_3_naming_file_line_column_and_value_and_changes_nothing(
    run: Run,
    offline: psycopg.Connection,
    folder: Path,
    export: str,
    line: int,
    old: str,
    new: str,
    sentence: str,
) -> None:
    _edit(folder, export, line, old, new)
    code, said = run(folder)
    assert code == 3
    _assert_says(said, sentence)
    assert not any(_dump(offline).values())


def test_bytes_that_are_not_utf8_exit_3_with_their_line(run: Run, folder: Path) -> None:
    file = folder / "users.csv"
    file.write_bytes(file.read_bytes().replace(b"5575-GNVDE", b"5575-\xff"))
    code, line = run(folder)
    assert code == 3
    assert "users.csv line 3: is not UTF-8" in line


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_exits_3(run: Run, folder: Path, content: bytes) -> None:
    (folder / "labels.csv").write_bytes(content)
    code, line = run(folder)
    assert code == 3
    assert "labels.csv: is empty" in line


def test_files_with_a_header_only_exit_3(run: Run, folder: Path) -> None:
    for export in TABLES:
        file = folder / f"{export}.csv"
        file.write_text(file.read_text().splitlines()[0])
    code, line = run(folder)
    assert code == 3
    assert "labels.csv: has 0 rows, fewer than 1" in line


def test_a_blank_line_within_a_file_exits_3_with_its_line(run: Run, folder: Path) -> None:
    _edit(folder, "users", 3, "\n", "\n\n")
    code, line = run(folder)
    assert code == 3
    assert "users.csv line 4, column user_id: is blank" in line


def test_a_missing_file_exits_3(run: Run, folder: Path) -> None:
    (folder / "labels.csv").unlink()
    code, line = run(folder)
    assert code == 3
    assert "labels.csv (or .parquet) is missing" in line


def test_a_file_of_no_contract_exits_3(run: Run, folder: Path) -> None:
    (folder / "labels_v2.csv").write_text("user_id,churn_label\n")
    code, line = run(folder)
    assert code == 3
    assert "labels_v2.csv belongs to no contract" in line


def test_an_export_in_both_formats_exits_3(run: Run, folder: Path) -> None:
    (folder / "labels.parquet").write_bytes(b"")
    code, line = run(folder)
    assert code == 3
    assert "labels is there twice, as .csv and as .parquet" in line


def test_a_file_that_is_not_parquet_exits_3(run: Run, folder: Path) -> None:
    (folder / "labels.csv").rename(folder / "labels.parquet")
    code, line = run(folder)
    assert code == 3
    assert "labels.parquet: is not Parquet" in line


def test_parquet_of_another_type_exits_3_naming_the_column(run: Run, tmp_path: Path, month: Export) -> None:
    folder = write_export(month, tmp_path, "parquet")
    table = month.tables["payments_agg_90d"]
    column = table.column("failed_payments_90d").cast(pa.float64())
    parquet.write_table(table.set_column(1, "failed_payments_90d", column), folder / "payments_agg_90d.parquet")
    code, line = run(folder)
    assert code == 3
    _assert_says(line, "payments_agg_90d.parquet row 1, column failed_payments_90d: has the type double, not a whole")


def test_a_parquet_value_against_the_contract_is_named_by_its_row(run: Run, tmp_path: Path, month: Export) -> None:
    folder = write_export(month, tmp_path, "parquet")
    table = month.tables["usage_agg_30d"]
    hours = table.column("watch_hours_30d").to_pylist()
    hours[6] = float("nan")
    parquet.write_table(table.set_column(1, "watch_hours_30d", [hours]), folder / "usage_agg_30d.parquet")
    code, line = run(folder)
    assert code == 3
    assert "usage_agg_30d.parquet row 7, column watch_hours_30d: nan is not finite" in line


def test_many_violations_list_the_first_few_and_count_the_rest(run: Run, folder: Path) -> None:
    for number in range(2, 9):
        _edit(folder, "labels", number, "e", "x")
    for export in ("users", "subscriptions", "usage_agg_30d", "payments_agg_90d", "support_agg_90d"):
        _edit(folder, export, 1, "user_id", "id")
    code, line = run(folder)
    assert code == 3
    assert "17 violations" in line
    assert "(and 6 more like it)" in line
    assert "; and 6 more findings" in line


@pytest.mark.parametrize("kept", [31, 51])
def test_row_counts_outside_the_band_of_the_month_before_exit_3(
    run: Run, offline: psycopg.Connection, tmp_path: Path, folder: Path, kept: int
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    other = write_export(next(generate(months=1, customers=kept)), tmp_path / "other")
    (other / "AS_OF").unlink()
    code, line = run(other, as_of="2024-02-29", delivered_at="2024-03-01")
    assert code == 3
    assert f"labels.csv: has {kept} rows, which is not 0.8 to 1.25 times the 40 of the month before" in line
    assert _dump(offline) == before


@pytest.mark.parametrize("delivered_at", [DELIVERED, "2024-02-01"])
def test_a_correction_delivered_no_later_than_what_it_corrects_exits_2_and_changes_nothing(
    run: Run, offline: psycopg.Connection, folder: Path, delivered_at: str
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    _edit(folder, "subscriptions", 2, "29.85", "30.85")
    code, line = run(folder, delivered_at=delivered_at)
    assert code == 2
    assert f"--delivered-at {delivered_at}T00:00:00Z is not after 2024-02-02T00:00:00Z" in line
    assert _dump(offline) == before


def test_another_writer_makes_it_exit_75_with_nothing_changed(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    with writer_lock(1):
        code, line = run(folder, "--lock-wait", "0.1")
    assert code == 75
    assert "another writer holds the lock" in line
    assert not any(_dump(offline).values())


def test_a_database_without_the_tables_exits_1_and_says_what_to_do(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    offline.execute("DROP TABLE churn_labels")
    code, line = run(folder)
    assert code == 1
    assert 'relation "churn_labels" does not exist' in line
    assert "run `python -m jobs.apply` first" in line


def test_a_database_without_a_column_of_the_contract_exits_1_with_nothing_changed(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    offline.execute("ALTER TABLE users_profile_snapshots DROP COLUMN has_family")
    code, line = run(folder)
    assert code == 1
    assert 'column "has_family" does not exist' in line
    assert not any(_dump(offline).values())


def test_the_tables_show_every_value_of_the_files_with_blanks_as_null(
    run: Run, offline: psycopg.Connection, folder: Path, month: Export
) -> None:
    assert run(folder)[0] == 0
    for contract in load_contracts(Path(os.environ["FEATURE_PLATFORM_REPO"])):
        names = list(contract.columns)
        rows = offline.execute(
            f"SELECT {', '.join(names)}, {contract.instant}, created_at, tombstone FROM {contract.table} ORDER BY 1"
        ).fetchall()
        expected = sorted(zip(*(month.tables[contract.export].column(name).to_pylist() for name in names), strict=True))
        assert rows == [(*row, _day(AS_OF), _day(DELIVERED), False) for row in expected]


def test_parquet_loads_like_csv(run: Run, offline: psycopg.Connection, folder: Path, month: Export) -> None:
    assert run(folder)[0] == 0
    from_csv = _dump(offline)
    for table in TABLES.values():
        offline.execute(f"TRUNCATE {table}")
    assert run(write_export(month, folder.parent, "parquet"))[0] == 0
    assert _dump(offline) == from_csv


@pytest.mark.parametrize("rewrite", [str.lower, str.upper])
def test_booleans_are_read_in_any_case(
    run: Run, offline: psycopg.Connection, folder: Path, rewrite: Callable[[str], str]
) -> None:
    file = folder / "labels.csv"
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([header, *(line[:11] + rewrite(line[11:]) for line in lines)]))
    assert run(folder)[0] == 0
    ((trues,),) = offline.execute("SELECT count(*) FROM churn_labels WHERE churn_label").fetchall()
    assert trues == sum("true" in line.lower() for line in lines) > 0


def test_windows_line_ends_a_byte_order_mark_quotes_and_another_column_order_are_read(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    table = csv.read_csv(folder / "payments_agg_90d.csv").select(["failed_payments_90d", "user_id"])
    csv.write_csv(table, folder / "payments_agg_90d.csv", csv.WriteOptions(quoting_style="all_valid"))
    content = (folder / "payments_agg_90d.csv").read_bytes().replace(b"\n", b"\r\n")
    (folder / "payments_agg_90d.csv").write_bytes(b"\xef\xbb\xbf" + content + b"\r\n\r\n")
    code, line = run(folder)
    assert code == 0
    assert "nothing new" in line
    assert _dump(offline) == before


def test_the_same_files_again_change_nothing_whenever_they_are_delivered(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    for delivered_at in (DELIVERED, LATER, "2024-02-01"):
        code, line = run(folder, delivered_at=delivered_at)
        assert code == 0
        assert "nothing new: run 1 loaded the same files" in line
    assert _dump(offline) == before


def test_a_load_whose_end_the_ledger_never_saw_is_nothing_new_when_it_is_repeated(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    offline.execute("UPDATE ledger.runs SET state = 'lost', details = '{}'")
    code, line = run(folder)
    assert code == 0
    assert "nothing new: the tables show 2024-01-31T00:00:00Z like these files" in line
    assert _dump(offline) == before


def test_the_same_files_are_loaded_again_when_the_tables_lost_their_rows(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    offline.execute("TRUNCATE usage_agg_30d_snapshots")
    assert run(folder)[0] == 0
    assert _dump(offline) == before


def test_a_correction_appends_only_the_rows_that_differ(run: Run, offline: psycopg.Connection, folder: Path) -> None:
    assert run(folder)[0] == 0
    before = _dump(offline)
    _edit(folder, "subscriptions", 2, "29.85", "30.85")
    code, line = run(folder, delivered_at=LATER)
    assert code == 0
    assert "1 rows and 0 tombstones appended" in line
    after = _dump(offline)
    added = {table: [row for row in after[table] if row not in before[table]] for table in after}
    assert all(row in after[table] for table, rows in before.items() for row in rows)
    assert {table: len(rows) for table, rows in added.items() if rows} == {"subscriptions_profile_snapshots": 1}
    assert added["subscriptions_profile_snapshots"][0][:4] == (GOLDEN, _day(AS_OF), _day(LATER), False)


def test_a_value_that_becomes_blank_or_stops_being_blank_is_a_correction(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    _edit(folder, "subscriptions", 2, "False,False", ",False")
    assert "1 rows" in run(folder, delivered_at=LATER)[1]
    _edit(folder, "subscriptions", 2, ",,False", ",False,False")
    assert "1 rows" in run(folder, delivered_at="2024-02-04")[1]
    plans = offline.execute(
        """SELECT plan_stream_tv, plan_stream_movies FROM subscriptions_profile_snapshots
           WHERE user_id = %s ORDER BY created_at""",
        (GOLDEN,),
    ).fetchall()
    assert plans == [(False, False), (None, False), (False, False)]


def test_a_customer_whom_the_correction_leaves_out_gets_a_tombstone_and_a_row_when_back(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    whole = {export: (folder / f"{export}.csv").read_text() for export in TABLES}
    assert run(folder)[0] == 0
    _drop_line(folder, 2)
    code, line = run(folder, delivered_at=LATER)
    assert code == 0
    assert "0 rows and 6 tombstones appended" in line
    for export, text in whole.items():
        (folder / f"{export}.csv").write_text(text)
    code, line = run(folder, delivered_at="2024-02-04")
    assert code == 0
    assert "6 rows and 0 tombstones appended" in line
    for table in TABLES.values():
        assert _history(offline, table, GOLDEN) == [
            (_day(DELIVERED), False),
            (_day(LATER), True),
            (_day("2024-02-04"), False),
        ]


def test_a_customer_who_stays_out_gets_no_second_tombstone(run: Run, offline: psycopg.Connection, folder: Path) -> None:
    assert run(folder)[0] == 0
    _drop_line(folder, 2)
    assert run(folder, delivered_at=LATER)[0] == 0
    _drop_line(folder, 2)
    code, line = run(folder, delivered_at="2024-02-04")
    assert code == 0
    assert "0 rows and 6 tombstones appended" in line
    assert _history(offline, "churn_labels", GOLDEN) == [(_day(DELIVERED), False), (_day(LATER), True)]


def test_a_tombstone_holds_no_values(run: Run, offline: psycopg.Connection, folder: Path) -> None:
    assert run(folder)[0] == 0
    _drop_line(folder, 2)
    assert run(folder, delivered_at=LATER)[0] == 0
    (row,) = offline.execute("SELECT * FROM usage_agg_30d_snapshots WHERE tombstone").fetchall()
    assert row == (GOLDEN, _day(AS_OF), _day(LATER), True, *(None,) * 5)


def test_files_that_a_correction_replaced_are_a_correction_themselves(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    _edit(folder, "subscriptions", 2, "29.85", "30.85")
    assert run(folder, delivered_at=LATER)[0] == 0
    _edit(folder, "subscriptions", 2, "30.85", "29.85")
    code, line = run(folder, delivered_at="2024-02-04")
    assert code == 0
    assert "1 rows and 0 tombstones appended" in line


def test_row_counts_are_compared_with_the_corrected_month_before(
    run: Run, offline: psycopg.Connection, tmp_path: Path, folder: Path
) -> None:
    """40 rows less 8 taken back are 32: 26 rows are within 0.8 of those and were not within 0.8 of 40."""
    assert run(folder)[0] == 0
    for _ in range(8):
        _drop_line(folder, 2)
    assert run(folder, delivered_at=LATER)[0] == 0
    other = write_export(next(generate(months=1, customers=26)), tmp_path / "other")
    (other / "AS_OF").unlink()
    assert run(other, as_of="2024-02-29", delivered_at="2024-03-01")[0] == 0


def test_the_ledger_remembers_hashes_row_counts_and_what_was_appended(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    assert run(folder)[0] == 0
    row = offline.execute("SELECT state, details FROM ledger.runs").fetchone()
    assert row is not None
    state, details = row
    assert state == "succeeded"
    assert details["as_of"] == "2024-01-31T00:00:00Z"
    assert details["delivered_at"] == "2024-02-02T00:00:00Z"
    assert set(details["files"]) == set(TABLES)
    assert details["files"]["users"]["rows"] == 40
    assert len(details["files"]["users"]["sha256"]) == 64
    assert details["tables"]["churn_labels"] == {"rows": 40, "tombstones": 0}


def test_without_a_time_of_delivery_it_is_now(run: Run, offline: psycopg.Connection, folder: Path) -> None:
    before = datetime.now(UTC)
    assert ingest.main([str(folder), "--as-of", AS_OF]) == 0
    ((created_at,),) = offline.execute("SELECT DISTINCT created_at FROM churn_labels").fetchall()
    assert before <= created_at <= datetime.now(UTC)


def test_months_and_corrections_of_the_sample_load_in_order_of_delivery(
    run: Run, offline: psycopg.Connection, tmp_path: Path
) -> None:
    written = list(generate(months=4, customers=2_000))
    for month in written:
        write_export(month, tmp_path)
    for delivery in exports(tmp_path):
        code, line = run(
            delivery.path, as_of=delivery.as_of.isoformat(), delivered_at=delivery.delivered_at.isoformat()
        )
        assert code == 0, line
    newest = {month.as_of: month.tables for month in written}
    for export, table in TABLES.items():
        instant = "label_at" if export == "labels" else "as_of"
        shown = offline.execute(
            f"""SELECT {instant}, array_agg(user_id ORDER BY user_id) FROM (
                    SELECT DISTINCT ON (user_id, {instant}) * FROM {table}
                    ORDER BY user_id, {instant}, created_at DESC) newest
                WHERE NOT tombstone GROUP BY 1 ORDER BY 1"""
        ).fetchall()
        assert shown == [(as_of, sorted(t[export].column("user_id").to_pylist())) for as_of, t in newest.items()]


def test_the_bundled_customers_load_in_seconds(run: Run, offline: psycopg.Connection, tmp_path: Path) -> None:
    """The promise is 3 s; fivefold slack for a busy machine."""
    folder = write_export(next(generate(months=1)), tmp_path)
    started = time.monotonic()
    assert run(folder)[0] == 0
    assert time.monotonic() - started < 15
    ((plans,),) = offline.execute(
        "SELECT count(*) FROM subscriptions_profile_snapshots WHERE plan_stream_tv IS NULL"
    ).fetchall()
    assert plans == 1526


def test_a_sigterm_in_the_middle_of_the_load_leaves_nothing_and_a_repeat_loads_all(
    run: Run, offline: psycopg.Connection, folder: Path
) -> None:
    with postgres.connect("blocker") as blocker:
        blocker.execute("LOCK TABLE users_profile_snapshots IN SHARE MODE")
        command = [sys.executable, "-m", "jobs.ingest", str(folder), "--as-of", AS_OF, "--delivered-at", DELIVERED]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as job:
            _wait_until_blocked(offline)
            job.send_signal(signal.SIGTERM)
            output, _ = job.communicate(timeout=10)
    assert job.returncode == 1
    assert "interrupted" in output
    assert not any(_dump(offline).values())
    assert run(folder)[0] == 0
    assert all(len(rows) == 40 for rows in _dump(offline).values())


def test_a_writer_that_lost_its_lock_leaves_nothing(run: Run, offline: psycopg.Connection, folder: Path) -> None:
    with postgres.connect("blocker") as blocker, ThreadPoolExecutor(1) as beside:
        blocker.execute("LOCK TABLE users_profile_snapshots IN SHARE MODE")
        cut = beside.submit(_cut_the_writer_lock, offline, blocker)
        code, line = run(folder)
        cut.result()
    assert code == 1
    assert "the writer lock was lost" in line
    assert not any(_dump(offline).values())


def _cut_the_writer_lock(offline: psycopg.Connection, blocker: psycopg.Connection) -> None:
    """In the middle of the job's transaction; the job goes on once its lock has noticed."""
    try:
        _wait_until_blocked(offline)
        (watch,) = (thread for thread in threading.enumerate() if thread.name == "writer-lock")
        offline.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name LIKE '%writer lock' AND datname = current_database()"""
        )
        watch.join(timeout=30)
    finally:
        blocker.rollback()


VALUES = st.dictionaries(
    st.sampled_from([f"user-{number}" for number in range(8)]),
    st.one_of(st.none(), st.floats(0, 100_000, allow_nan=False)),
    min_size=1,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(deliveries=[{"user-0": None, "user-1": 1.5}, {"user-1": 1.5}, {"user-0": None, "user-1": 1.5}])
@given(deliveries=st.lists(VALUES, min_size=1, max_size=4))
def test_after_any_corrections_the_tables_show_the_last_delivery_exactly(
    run: Run,
    offline: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deliveries: list[dict[str, float | None]],
) -> None:
    repo, folder = _one_table_repository(tmp_path)
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(repo))
    offline.execute("DROP TABLE IF EXISTS readings")
    offline.execute(
        """CREATE TABLE readings (user_id text, as_of timestamptz, created_at timestamptz,
               tombstone boolean NOT NULL DEFAULT false, reading double precision,
               PRIMARY KEY (user_id, as_of, created_at))"""
    )
    for day, delivery in enumerate(deliveries, start=1):
        table = pa.table({"user_id": list(delivery), "reading": pa.array(delivery.values(), pa.float64())})
        csv.write_csv(table, folder / "readings.csv")
        assert run(folder, delivered_at=f"2024-02-{day:02}")[0] == 0
        shown = offline.execute(
            """SELECT user_id, reading FROM (SELECT DISTINCT ON (user_id) * FROM readings
                   ORDER BY user_id, created_at DESC) newest WHERE NOT tombstone"""
        ).fetchall()
        assert dict(shown) == delivery


def _one_table_repository(folder: Path) -> tuple[Path, Path]:
    """A repository of another subject, and a folder for its export."""
    (folder / "repo" / "contracts").mkdir(parents=True, exist_ok=True)
    (folder / "delivery").mkdir(exist_ok=True)
    (folder / "repo" / "contracts" / "readings.yaml").write_text(
        """{export: readings, table: readings, kind: snapshot, key: [user_id], instant: as_of,
            columns: {user_id: {type: string}, reading: {type: number, nullable: true}}}"""
    )
    return folder / "repo", folder / "delivery"


def _wait_until_blocked(connection: psycopg.Connection) -> None:
    """Until the job waits for the locked table, in the middle of its transaction."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        row = connection.execute(
            """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'feature-platform ingest'
               AND wait_event_type = 'Lock' AND datname = current_database()"""
        ).fetchone()
        if row == (1,):
            return
    raise AssertionError("the job never came to the locked table")


def _assert_says(line: str, pattern: str) -> None:
    assert re.search(pattern, line), line

"""The frame around every job: exit codes, what is said where, the ledger, and how a job is ended."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from jobs.local.servers import PostgresServer
from jobs.lock import writer_lock
from jobs.process import free_port
from tests.integration import tiny_job
from tests.integration.job_process import run, started
from tests.process_support import wait_for

TINY = "tests.integration.tiny_job"
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def ledger(migrated_database: str) -> None:
    """Every test has a ledger, in a database of its own."""


def runs(server: PostgresServer, database: str) -> list[dict[str, Any]]:
    """The ledger's rows, oldest first."""
    with server.connect(database) as connection:
        rows = connection.cursor(row_factory=dict_row).execute("SELECT * FROM ledger.runs ORDER BY run_id")
        return rows.fetchall()


# --- refusals


@pytest.mark.parametrize("name", ["PGHOST", "PGDATABASE", "PGUSER"])
def test_a_missing_setting_of_postgres_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.delenv(name)
    assert tiny_job.main(["done"]) == 2
    assert capsys.readouterr().out == (
        f"tiny: failed (exit 2): {name} not set; Postgres is named by libpq's variables PGHOST, PGDATABASE, PGUSER\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PGPASSWORD", PASSWORD, 'password authentication failed for user "postgres"'),
        ("PGDATABASE", "nowhere", 'database "nowhere" does not exist'),
        ("PGHOST", "nowhere.invalid", "failed to resolve host"),
        ("PGSSLMODE", "require", "server does not support SSL"),
    ],
)
def test_a_postgres_that_refuses_is_one_sentence_that_says_where_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    assert tiny_job.main(["done"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("tiny: failed (exit 1): Postgres at ")
    assert "cannot be reached: " in said.out
    assert reason in said.out
    assert said.out.count("\n") == 1
    assert PASSWORD not in said.out + said.err


def test_a_postgres_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], migrated_database: str
) -> None:
    port = free_port()
    monkeypatch.setenv("PGPORT", str(port))
    assert tiny_job.main(["done"]) == 1
    sentence = f"Postgres at 127.0.0.1:{port}/{migrated_database} cannot be reached: Connection refused"
    assert capsys.readouterr().out.startswith(f"tiny: failed (exit 1): {sentence}")


def test_a_database_without_a_ledger_says_what_to_run_first(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny_job.main(["done"]) == 2
    assert "this database has no ledger yet; run `python -m jobs.apply` first" in capsys.readouterr().out


def test_a_wrong_flag_is_usage_and_leaves_no_ledger_row(
    postgres_server: PostgresServer, migrated_database: str
) -> None:
    ended = run(TINY, "sideways")
    assert (ended.code, ended.out) == (2, "")
    assert "invalid choice: 'sideways'" in ended.err
    assert runs(postgres_server, migrated_database) == []


# --- how runs end


@pytest.mark.parametrize(
    ("how", "code", "sentence"),
    [
        ("failed", 1, "the moon is full"),
        ("usage", 2, "--moon is not a phase"),
        ("data", 3, "moon.csv, line 3: phase is 9"),
        ("statement", 1, "Postgres said: division by zero"),
        ("redis", 1, "Redis said: WRONGTYPE of command # 1 (HSET ?? ...)"),
        ("crash", 1, "internal error: ZeroDivisionError: first line"),
    ],
)
def test_a_failure_is_one_sentence_on_stdout_in_the_log_and_in_the_ledger(
    postgres_server: PostgresServer, migrated_database: str, how: str, code: int, sentence: str
) -> None:
    ended = run(TINY, how)
    assert ended.code == code
    assert ended.out.startswith(f"tiny: failed (exit {code}): {sentence}")
    assert ended.out.count("\n") == 1
    assert ended.lines[-2]["event"] == "failed"
    assert ended.lines[-2]["error"].startswith(sentence)
    (row,) = runs(postgres_server, migrated_database)
    assert (row["state"], row["exit_code"]) == ("failed", code)
    assert f"tiny: {row['summary']}\n" == ended.out


def test_a_crash_leaves_its_traceback_in_one_log_line_and_nowhere_else() -> None:
    ended = run(TINY, "crash")
    assert "Traceback" not in ended.out
    (crashed,) = [line for line in ended.lines if line["event"] == "crashed"]
    assert "ZeroDivisionError" in crashed["traceback"][-1]


def test_a_writer_that_does_not_get_the_lock_ends_with_75(
    postgres_server: PostgresServer, migrated_database: str
) -> None:
    with writer_lock(10):
        ended = run(TINY, "lock", "--lock-wait", "0.2")
    assert ended.code == 75
    assert "another writer holds the lock and did not finish within 0.2 s; try again, or wait longer" in ended.out
    assert runs(postgres_server, migrated_database)[0]["exit_code"] == 75


def test_success_is_one_line_on_stdout_and_json_lines_on_stderr() -> None:
    ended = run(TINY, "done")
    assert (ended.code, ended.out) == (0, "tiny: done: 3 rows\n")
    assert [line["event"] for line in ended.lines] == ["started", "halfway", "finished"]
    assert all(line["job"] == "tiny" and line["time"].endswith("Z") and line["run_id"] == 1 for line in ended.lines)


def test_the_ledger_has_a_row_from_the_start_which_the_end_completes(
    postgres_server: PostgresServer, migrated_database: str
) -> None:
    with started(TINY, "pause") as job:
        job.wait_for_event("waiting")
        (row,) = runs(postgres_server, migrated_database)
        assert (row["job"], row["state"], row["finished_at"]) == ("tiny", "running", None)
        assert row["arguments"] == {"how": "pause", "lock_wait": 10.0}
    assert run(TINY, "done").code == 0
    row = runs(postgres_server, migrated_database)[1]
    assert (row["state"], row["exit_code"], row["summary"]) == ("succeeded", 0, "done: 3 rows")
    assert row["details"] == {"rows": 3}
    assert row["started_at"] < row["finished_at"]


def test_a_run_whose_end_cannot_be_written_down_has_failed(
    postgres_server: PostgresServer, migrated_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny_job.main(["ledger_gone"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("tiny: failed (exit 1): Postgres at ")
    assert "Traceback" not in said.out + said.err


def test_a_run_that_lost_the_ledgers_connection_writes_its_end_by_another(
    postgres_server: PostgresServer, migrated_database: str
) -> None:
    assert tiny_job.main(["ledger_lost"]) == 0
    (row,) = runs(postgres_server, migrated_database)
    assert (row["state"], row["summary"]) == ("succeeded", "done all the same")


# --- the termination message


def test_the_summary_is_left_where_kubernetes_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEATURE_PLATFORM_TERMINATION_LOG", str(tmp_path / "message"))
    for how in ("done", "failed"):
        ended = run(TINY, how)
        assert (tmp_path / "message").read_text() == ended.out.strip()


def test_a_termination_message_that_cannot_be_left_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEATURE_PLATFORM_TERMINATION_LOG", str(tmp_path / "no such folder" / "message"))
    ended = run(TINY, "done")
    assert (ended.code, ended.out) == (0, "tiny: done: 3 rows\n")
    assert ended.lines[-1]["event"] == "no termination message"


# --- being ended


@pytest.mark.parametrize("where", ["pause", "query", "lock", "hold"])
def test_sigterm_ends_a_job_within_ten_seconds_with_a_ledger_row(
    postgres_server: PostgresServer, migrated_database: str, where: str
) -> None:
    with postgres_server.connect(migrated_database) as other, started(TINY, where, "--lock-wait", "600") as job:
        if where == "lock":
            other.execute("SELECT pg_advisory_lock(%s)", (0x46505752,))
        job.wait_for_event("waiting")
        asked_at = time.monotonic()
        job.process.send_signal(signal.SIGTERM)
        ended = job.end()
        assert time.monotonic() - asked_at < 10
    assert (ended.code, ended.out) == (1, "tiny: failed (exit 1): interrupted before it was done; run it again\n")
    (row,) = runs(postgres_server, migrated_database)
    assert (row["state"], row["exit_code"]) == ("failed", 1)
    assert row["summary"].endswith("interrupted before it was done; run it again")


def test_a_run_that_died_unseen_is_marked_lost_by_the_next_one_and_a_living_one_is_not(
    postgres_server: PostgresServer, migrated_database: str
) -> None:
    with started(TINY, "pause") as dies, started(TINY, "pause") as lives:
        dies.wait_for_event("waiting")
        lives.wait_for_event("waiting")
        dies.process.kill()
        dies.end()
        with postgres_server.connect(migrated_database) as connection:
            wait_for(lambda: sessions(connection) == 1, "Postgres notices that the first job is gone")
        assert run(TINY, "done").code == 0
        states = {row["run_id"]: (row["state"], row["finished_at"]) for row in runs(postgres_server, migrated_database)}
    assert sorted(state for state, _ in states.values()) == ["lost", "running", "succeeded"]
    assert [finished for state, finished in states.values() if state == "lost"] != [None]


def sessions(connection: psycopg.Connection) -> int:
    """How many jobs are connected to this database with the ledger's connection."""
    query = """SELECT count(*) FROM pg_stat_activity
               WHERE application_name = 'feature-platform tiny ledger' AND datname = current_database()"""
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_what_is_logged_is_json_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.ending import log_line

    log_line("tiny", "odd", path=Path("/a b"), text='quote " newline \n é')
    record = json.loads(capsys.readouterr().err)
    assert (record["path"], record["text"]) == ("/a b", 'quote " newline \n é')

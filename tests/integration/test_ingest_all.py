"""`jobs.ingest --all` and `jobs.ingest DIR` by what the folders state themselves, against a real Postgres."""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from feature_repo.sample import exports, generate, write_export
from jobs import ingest, postgres
from jobs.errors import EXIT_BAD_DATA, EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from jobs.exports.contract import load_contracts
from tests.integration.job_process import started
from tests.process_support import wait_for

Look = Callable[..., tuple[int, list[str]]]
TABLE = "subscriptions_profile_snapshots"
# Corrected in June; so is March, in April.
CORRECTED = "2024-05-31"
NEVER = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six months of 200 customers, and corrections of the third and the fifth."""
    root = tmp_path_factory.mktemp("sample")
    for export in generate(months=6, customers=200):
        write_export(export, root)
    return root


@pytest.fixture
def root(sample: Path, tmp_path: Path) -> Path:
    """The same in folders that a test may change: the first two months."""
    for month in sorted(sample.iterdir())[:2]:
        copy(month, tmp_path / "exports")
    return tmp_path / "exports"


def copy(folder: Path, root: Path) -> Path:
    (root / folder.name).mkdir(parents=True)
    for file in folder.iterdir():
        (root / folder.name / file.name).write_bytes(file.read_bytes())
    return root / folder.name


@pytest.fixture
def look(migrated_database: str, capsys: pytest.CaptureFixture[str]) -> Look:
    """Runs the job; returns its exit code and its lines."""

    def run_it(*arguments: str | Path) -> tuple[int, list[str]]:
        code = ingest.main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert "Traceback" not in output.err + output.out
        return code, output.out.splitlines()

    return run_it


@pytest.fixture
def offline(migrated_database: str) -> Iterator[psycopg.Connection]:
    with postgres.connect("test", autocommit=True) as connection:
        yield connection


def runs(offline: psycopg.Connection) -> list[tuple[Any, ...]]:
    """State, exit code and summary of each run, oldest first."""
    return offline.execute("SELECT state, exit_code, summary FROM ledger.runs ORDER BY run_id").fetchall()


def rows(offline: psycopg.Connection) -> list[tuple[Any, ...]]:
    return offline.execute(f"SELECT * FROM {TABLE} ORDER BY user_id, as_of, created_at").fetchall()


def edit(folder: Path, old: str = "29.85", new: str = "30.85") -> None:
    file = folder / "subscriptions.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# --- what is refused, before anything changes


def without_as_of(root: Path) -> None:
    (root / "2024-02-29" / "AS_OF").unlink()


def without_folders(root: Path) -> None:
    for folder in root.iterdir():
        folder.rename(root / f".{folder.name}")


def as_of_that_is_no_instant(root: Path) -> None:
    (root / "2024-02-29" / "AS_OF").write_text("February")


def delivered_at_that_is_no_instant(root: Path) -> None:
    (root / "2024-02-29" / "DELIVERED_AT").write_text("soon")


def delivered_tomorrow(root: Path) -> None:
    (root / "2024-02-29" / "DELIVERED_AT").write_text(NEVER)


def delivered_too_early(root: Path) -> None:
    (root / "2024-02-29" / "DELIVERED_AT").write_text("2024-02-28")


def twice_without_an_order(root: Path) -> None:
    again = copy(root / "2024-02-29", root.parent)
    again.rename(root / "2024-02-29.again")


def twice_of_which_one_states_no_delivery(root: Path) -> None:
    twice_without_an_order(root)
    (root / "2024-02-29" / "DELIVERED_AT").unlink()


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (without_as_of, "ROOT/2024-02-29 has no file AS_OF, which states what it describes"),
        (without_folders, "--all ROOT holds no folder; it takes a folder of export folders"),
        (as_of_that_is_no_instant, "ROOT/2024-02-29/AS_OF: 'February' is not an instant"),
        (delivered_at_that_is_no_instant, "ROOT/2024-02-29/DELIVERED_AT: 'soon' is not an instant"),
        (delivered_tomorrow, f"ROOT/2024-02-29/DELIVERED_AT {NEVER}T00:00:00Z is in the future"),
        (delivered_too_early, "DELIVERED_AT 2024-02-28T00:00:00Z is before ROOT/2024-02-29/AS_OF 2024-02-29"),
        (twice_without_an_order, "ROOT/2024-02-29 and ROOT/2024-02-29.again both describe 2024-02-29T00:00:00Z"),
        (
            twice_of_which_one_states_no_delivery,
            "ROOT/2024-02-29.again and ROOT/2024-02-29 both describe 2024-02-29T00:00:00Z; a file DELIVERED_AT",
        ),
    ],
)
def test_a_root_that_cannot_be_right_exits_2_with_one_line_before_anything_changes(
    look: Look, offline: psycopg.Connection, root: Path, break_it: Callable[[Path], None], complaint: str
) -> None:
    break_it(root)
    code, lines = look("--all", root)
    assert code == EXIT_USAGE
    assert len(lines) == 1
    assert complaint.replace("ROOT", str(root)) in lines[0]
    assert not rows(offline)
    assert [state for state, *_ in runs(offline)] == ["failed"]


@pytest.mark.parametrize("flags", [["2024-01-31"], ["--as-of", "2024-01-31"], ["--delivered-at", "2024-02-02"]])
def test_all_beside_a_folder_or_its_instants_exits_2(
    look: Look, offline: psycopg.Connection, root: Path, flags: list[str]
) -> None:
    code, lines = look("--all", root, *flags)
    assert code == EXIT_USAGE
    assert "--all takes each folder by what it states itself: leave out DIR, --as-of and --delivered-at" in lines[0]
    assert not rows(offline)


def test_neither_a_folder_nor_all_exits_2(look: Look) -> None:
    code, lines = look()
    assert code == EXIT_USAGE
    assert "name the folder of the export files, or with --all the folder that holds such folders" in lines[0]


def test_a_root_that_is_no_folder_exits_2(look: Look, root: Path) -> None:
    code, lines = look("--all", root / "2024-01-31" / "AS_OF")
    assert code == EXIT_USAGE
    assert f"--all {root}/2024-01-31/AS_OF is not a folder" in lines[0]


# --- what is taken


def test_every_folder_is_a_run_of_its_own_in_order_of_delivery(
    look: Look, offline: psycopg.Connection, sample: Path
) -> None:
    code, lines = look("--all", sample)
    assert code == EXIT_DONE, lines
    delivered = [export.as_of.strftime("%Y-%m-%dT%H:%M:%SZ") for export in exports(sample)]
    assert delivered.count(f"{CORRECTED}T00:00:00Z") == 2
    assert [line.split()[1] for line in lines[:-1]] == delivered
    assert lines[-1] == f"ingest: {sample}: 8 loaded and 0 with nothing new of 8 folders"
    assert [f"ingest: {summary}" for _, _, summary in runs(offline)] == lines[:-1]


def test_a_second_look_is_nothing_new_also_for_what_was_corrected(
    look: Look, offline: psycopg.Connection, sample: Path
) -> None:
    assert look("--all", sample)[0] == EXIT_DONE
    before = rows(offline)
    code, lines = look("--all", sample)
    assert code == EXIT_DONE
    assert all(line.startswith("ingest: nothing new: run ") for line in lines[:-1])
    assert f"run 6 loaded the same files for {CORRECTED}T00:00:00Z, and run 7 a correction of them" in "".join(lines)
    assert lines[-1] == f"ingest: {sample}: 0 loaded and 8 with nothing new of 8 folders"
    assert rows(offline) == before


def test_a_new_folder_is_found_among_the_old_ones(look: Look, root: Path, sample: Path) -> None:
    assert look("--all", root)[0] == EXIT_DONE
    copy(sample / "2024-03-31", root)
    code, lines = look("--all", root)
    assert code == EXIT_DONE
    assert lines[-1] == f"ingest: {root}: 1 loaded and 2 with nothing new of 3 folders"


def test_what_a_volume_keeps_for_itself_is_no_delivery(look: Look, root: Path) -> None:
    for name in ("lost+found", ".snapshot"):
        (root / name).mkdir()
    (root / "README").write_text("a file")
    assert look("--all", root)[1][-1] == f"ingest: {root}: 2 loaded and 0 with nothing new of 2 folders"


def test_a_folder_that_does_not_state_its_delivery_is_delivered_now_and_taken_once(
    look: Look, offline: psycopg.Connection, root: Path
) -> None:
    (root / "2024-01-31" / "DELIVERED_AT").unlink()
    before = datetime.now(UTC)
    code, lines = look("--all", root)
    assert code == EXIT_DONE
    # Delivered after the one that states when.
    assert [line.split()[1] for line in lines[:-1]] == ["2024-02-29T00:00:00Z", "2024-01-31T00:00:00Z"]
    assert {row[2] >= before for row in rows(offline) if row[1] == datetime(2024, 1, 31, tzinfo=UTC)} == {True}
    assert look("--all", root)[1][-1].endswith("0 loaded and 2 with nothing new of 2 folders")


def test_a_look_does_not_take_back_a_correction_that_came_from_elsewhere(
    look: Look, offline: psycopg.Connection, root: Path, tmp_path: Path
) -> None:
    (root / "2024-01-31" / "DELIVERED_AT").unlink()
    assert look("--all", root)[0] == EXIT_DONE
    corrected = copy(root / "2024-01-31", tmp_path)
    edit(corrected)
    assert look(corrected, "--as-of", "2024-01-31")[0] == EXIT_DONE
    before = rows(offline)
    assert look("--all", root)[1][-1].endswith("0 loaded and 2 with nothing new of 2 folders")
    assert rows(offline) == before


def test_a_folder_that_changed_is_a_correction(look: Look, offline: psycopg.Connection, root: Path) -> None:
    assert look("--all", root)[0] == EXIT_DONE
    before = rows(offline)
    edit(root / "2024-01-31")
    (root / "2024-01-31" / "DELIVERED_AT").write_text("2024-03-05")
    code, lines = look("--all", root)
    assert code == EXIT_DONE
    assert lines[-1].endswith("1 loaded and 1 with nothing new of 2 folders")
    assert len(rows(offline)) == len(before) + 1


def test_what_the_tables_lost_is_loaded_again_with_its_corrections(
    look: Look, offline: psycopg.Connection, sample: Path, repository: Path
) -> None:
    assert look("--all", sample)[0] == EXIT_DONE
    before = rows(offline)
    for contract in load_contracts(repository):
        offline.execute(f"TRUNCATE {contract.table}")
    assert look("--all", sample)[0] == EXIT_DONE
    assert rows(offline) == before


# --- where it stops


def test_the_first_folder_that_fails_ends_it_and_is_named_with_what_was_loaded_before(
    look: Look, offline: psycopg.Connection, root: Path, sample: Path
) -> None:
    copy(sample / "2024-03-31", root)
    edit(root / "2024-02-29", new="much")
    code, lines = look("--all", root)
    assert code == EXIT_BAD_DATA
    assert len(lines) == 3
    assert lines[-1].startswith(
        f"ingest: failed (exit 3): {root}/2024-02-29, after 1 loaded and 0 with nothing new of 3 folders: "
    )
    assert lines[-1].endswith("subscriptions.csv line 2, column monthly_fee: 'much' is not a number")
    assert {row[1] for row in rows(offline)} == {datetime(2024, 1, 31, tzinfo=UTC)}
    assert [(state, exit_code) for state, exit_code, _ in runs(offline)] == [("succeeded", 0), ("failed", 3)]


def test_a_folder_whose_files_are_not_all_there_is_not_taken_until_they_are(
    look: Look, offline: psycopg.Connection, root: Path
) -> None:
    labels = root / "2024-02-29" / "labels.csv"
    content = labels.read_bytes()
    labels.unlink()
    code, lines = look("--all", root)
    assert code == EXIT_BAD_DATA
    assert "labels.csv (or .parquet) is missing" in lines[-1]
    assert {row[1] for row in rows(offline)} == {datetime(2024, 1, 31, tzinfo=UTC)}
    labels.write_bytes(content)
    assert look("--all", root)[1][-1].endswith("1 loaded and 1 with nothing new of 2 folders")


def test_the_termination_message_is_the_summary_of_the_whole(
    look: Look, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = tmp_path / "termination-log"
    monkeypatch.setenv("FEATURE_PLATFORM_TERMINATION_LOG", str(message))
    lines = look("--all", root)[1]
    assert message.read_text() == lines[-1]
    assert lines[-1] == f"ingest: {root}: 2 loaded and 0 with nothing new of 2 folders"
    edit(root / "2024-02-29", new="much")
    assert look("--all", root)[1][-1] == message.read_text()
    assert f"{root}/2024-02-29, after 0 loaded and 1 with nothing new of 2 folders" in message.read_text()


def test_sigterm_ends_the_run_that_is_under_way_and_all_that_would_follow(
    offline: psycopg.Connection, root: Path, migrated_database: str
) -> None:
    with postgres.connect("blocker") as blocker, started("jobs.ingest", "--all", str(root)) as job:
        blocker.execute(f"LOCK TABLE {TABLE} IN SHARE MODE")
        job.wait_for_event("checked")
        wait_for(lambda: is_waiting(offline), "the job comes to the locked table")
        job.process.send_signal(signal.SIGTERM)
        ended = job.end()
    assert ended.code == EXIT_FAILED
    assert ended.out.splitlines()[-1] == (
        f"ingest: failed (exit 1): {root}/2024-01-31, after 0 loaded and 0 with nothing new of 2 folders: "
        "interrupted before it was done; run it again"
    )
    assert not rows(offline)
    assert len(runs(offline)) == 1


def is_waiting(offline: psycopg.Connection) -> bool:
    query = """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'feature-platform ingest'
               AND wait_event_type = 'Lock' AND datname = current_database()"""
    return offline.execute(query).fetchone() == (1,)


# --- one folder, by what it states itself


def test_a_folder_alone_is_taken_by_what_it_states(look: Look, offline: psycopg.Connection, root: Path) -> None:
    folder = root / "2024-01-31"
    code, (line,) = look(folder)
    assert code == EXIT_DONE
    delivered = (folder / "DELIVERED_AT").read_text().strip()
    assert line.startswith("ingest: 2024-01-31T00:00:00Z loaded ")
    assert line.endswith(f"known since {delivered}")
    assert {row[2] for row in rows(offline)} == {datetime.fromisoformat(delivered)}


def test_a_flag_says_when_a_folder_was_delivered_before_its_file_does(look: Look, root: Path) -> None:
    assert look(root / "2024-01-31", "--delivered-at", "2024-02-20")[1][0].endswith("known since 2024-02-20T00:00:00Z")


def test_a_folder_alone_that_does_not_say_what_it_describes_exits_2(
    look: Look, offline: psycopg.Connection, root: Path
) -> None:
    folder = root / "2024-01-31"
    (folder / "AS_OF").unlink()
    code, lines = look(folder)
    assert code == EXIT_USAGE
    assert f"{folder} has no file AS_OF" in lines[0]
    assert "or name the folder with --as-of" in lines[0]
    assert not rows(offline)


def test_files_that_a_correction_replaced_are_taken_again_only_when_they_were_delivered_after_it(
    look: Look, offline: psycopg.Connection, root: Path
) -> None:
    folder = root / "2024-01-31"
    assert look(folder)[0] == EXIT_DONE
    edit(folder)
    assert "1 rows and 0 tombstones" in look(folder, "--delivered-at", "2024-02-20")[1][0]
    edit(folder, "30.85", "29.85")
    before = rows(offline)
    assert "nothing new: run 1 loaded the same files" in look(folder)[1][0]
    assert rows(offline) == before
    assert "1 rows and 0 tombstones" in look(folder, "--delivered-at", "2024-02-21")[1][0]

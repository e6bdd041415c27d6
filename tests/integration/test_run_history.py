"""What Redis tells of the last materializations, for those who look through the gateway."""

import json
from datetime import UTC, datetime

import pytest

from jobs import materialize
from jobs.ending import End
from jobs.online.run_history import KEPT, shown
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.offline import FEBRUARY, JANUARY, OfflineStore

KEY = f"feature-platform:{PROJECT}:runs"


def history(client: BytesRedis) -> list[tuple[datetime, dict[str, object]]]:
    """Start and end of each run, the oldest first."""
    runs = client.hgetall(KEY)
    return [(datetime.fromisoformat(start.decode()), json.loads(end)) for start, end in sorted(runs.items())]


def test_a_run_is_shown_with_its_start_its_end_and_what_it_did(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    before = datetime.now(UTC)
    assert materialize.main([]) == 0
    [(started_at, end)] = history(redis_client)
    assert end["exit_code"] == 0
    assert f"materialize: {end['summary']}" == capsys.readouterr().out.strip()
    assert before <= started_at <= datetime.fromisoformat(str(end["finished_at"])) <= datetime.now(UTC)


def test_a_run_that_fails_is_shown_as_failed_without_its_reason(
    platform: OfflineStore, redis_client: BytesRedis
) -> None:
    assert materialize.main([]) == 1
    [(_, end)] = history(redis_client)
    assert (end["exit_code"], end["summary"]) == (1, None)


def test_a_run_that_finds_no_postgres_is_shown_too(
    platform: OfflineStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    assert materialize.main([]) == 1
    [(_, end)] = history(redis_client)
    assert end["exit_code"] == 1


def test_while_a_run_is_at_work_it_is_shown_without_an_end(redis_client: BytesRedis) -> None:
    def work() -> End:
        [(_, end)] = history(redis_client)
        assert end == {}
        return End(0, "done")

    assert shown("materialize", work) == End(0, "done")
    [(_, end)] = history(redis_client)
    assert end["exit_code"] == 0


def test_only_the_last_runs_are_kept(redis_client: BytesRedis) -> None:
    for number in range(KEPT + 3):
        shown("materialize", lambda number=number: End(0, str(number)))  # type: ignore[misc]
    assert [end["summary"] for _, end in history(redis_client)] == [str(number) for number in range(3, KEPT + 3)]


def test_a_redis_that_cannot_be_reached_changes_nothing_of_how_the_work_ends(
    redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "127.0.0.1:1")
    assert shown("materialize", lambda: End(3, "bad data")) == End(3, "bad data")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["not_shown", "not_shown"]


def test_a_signal_while_the_end_is_shown_does_not_undo_it(
    redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> End:
        # The next time that Redis is looked for, the signal is there.
        monkeypatch.setattr("jobs.online.run_history.load_settings", _interrupted)
        return End(0, "done")

    assert shown("materialize", work) == End(0, "done")


def _interrupted() -> None:
    raise KeyboardInterrupt


def test_the_status_tells_how_many_rows_the_watermark_before_had_also_after_a_repeat(
    platform: OfflineStore, redis_client: BytesRedis
) -> None:
    def previous_rows() -> object:
        return json.loads(redis_client.hget(f"feature-platform:{PROJECT}:status", "subs_profile_fv") or b"")[
            "previous_rows"
        ]

    platform.snapshot("a", JANUARY)
    materialize.main([])
    assert previous_rows() is None
    platform.snapshot("a", FEBRUARY)
    platform.snapshot("b", FEBRUARY)
    for _ in range(2):
        assert materialize.main([]) == 0
        assert previous_rows() == 1

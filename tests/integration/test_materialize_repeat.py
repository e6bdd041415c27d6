"""A repeat reads a small part of what the first run read, and finds what has changed all the same."""

import json
import subprocess
import sys

import pytest
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.Value_pb2 import Value

from jobs import materialize
from jobs.online import repeat
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.integration.test_materialize import key_of, months_active
from tests.offline import FEBRUARY, JANUARY, OfflineStore, dump

USERS = [f"customer-{number}" for number in range(300)]


def events(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    """What a run that succeeds says in its log that it did."""
    capsys.readouterr()
    assert materialize.main(list(flags)) == 0
    return [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def shown(platform: OfflineStore, redis_client: BytesRedis) -> OfflineStore:
    """A platform whose online store shows January."""
    platform.many(USERS, JANUARY)
    assert materialize.main([]) == 0
    return platform


def test_where_nothing_is_new_a_count_and_a_sample_are_enough(
    shown: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "SAMPLE", 10)
    before = dump(redis_client)
    before_reads = reads(redis_client)
    assert "nothing_new" in events(capsys)
    assert reads(redis_client) - before_reads < len(USERS) / 2
    assert dump(redis_client) == before
    assert "nothing_new" in events(capsys), "the repeat of a repeat"


def reads(client: BytesRedis) -> int:
    """How many hashes were read."""
    statistics = client.info("commandstats")
    return sum(int(statistics.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("hmget", "hgetall", "hvals"))


def test_verify_full_finds_what_no_sample_would(
    shown: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "SAMPLE", 0)
    redis_client.hset(
        key_of("customer-7"), _mmh3("subs_profile_fv:months_active"), Value(int64_val=9).SerializeToString()
    )
    assert "nothing_new" in events(capsys)
    assert months_active(redis_client, "customer-7") == 9
    assert "nothing_new" not in events(capsys, "--verify", "full")
    assert months_active(redis_client, "customer-7") == 1


def test_the_sample_sees_a_wrong_value(
    shown: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.hset(
        key_of("customer-7"), _mmh3("subs_profile_fv:months_active"), Value(int64_val=9).SerializeToString()
    )
    assert "nothing_new" not in events(capsys)
    assert months_active(redis_client, "customer-7") == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE offline.subscriptions_profile_snapshots SET months_active = 5 WHERE user_id = 'customer-7'",
        "UPDATE offline.subscriptions_profile_snapshots SET tombstone = true WHERE user_id = 'customer-7'",
        "DELETE FROM offline.subscriptions_profile_snapshots WHERE user_id = 'customer-7'",
        "INSERT INTO offline.subscriptions_profile_snapshots (user_id, as_of, created_at, months_active) "
        "SELECT user_id, as_of, created_at + interval '1 day', 5 FROM offline.subscriptions_profile_snapshots "
        "WHERE user_id = 'customer-7'",
    ],
    ids=["changed in place", "withdrawn", "deleted", "corrected"],
)
def test_any_change_of_the_offline_store_is_seen(
    shown: OfflineStore,
    redis_client: BytesRedis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    monkeypatch.setattr(repeat, "SAMPLE", 0)  # which would see it too
    shown.connection.execute(change)
    assert "nothing_new" not in events(capsys)
    after = dump(redis_client)
    redis_client.flushall()
    assert "nothing_new" not in events(capsys)
    assert dump(redis_client) == after
    assert months_active(redis_client, "customer-7") != 1


def test_only_what_was_corrected_is_written(
    shown: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    shown.row("usage_agg_30d_snapshots", "customer-7", JANUARY, FEBRUARY, watch_hours_30d=1.0)
    capsys.readouterr()
    assert materialize.main([]) == 0
    assert "1 written, 0 removed" in capsys.readouterr().out


def test_a_redis_of_another_time_is_not_taken_for_the_last_one(
    shown: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    status = f"feature-platform:{PROJECT}:status"
    earlier = redis_client.hgetall(status)
    shown.snapshot("customer-7", FEBRUARY)
    assert "nothing_new" not in events(capsys)
    redis_client.hset(status, mapping=dict(earlier))
    assert "nothing_new" not in events(capsys, "--as-of", JANUARY.isoformat())
    assert months_active(redis_client, "customer-7") == 1


def test_neither_feast_nor_pandas_is_imported_while_apply_was_the_last_to_change_the_registry(
    shown: OfflineStore,
) -> None:
    script = (
        "import sys\nfrom jobs import materialize\ncode = materialize.main(sys.argv[1:])\n"
        "sys.exit(code or ('feast' in sys.modules or 'pandas' in sys.modules) * 100)"
    )
    for flags in ([], ["--verify", "full"]):
        subprocess.run([sys.executable, "-c", script, *flags], check=True)
    shown.many(USERS, FEBRUARY)
    subprocess.run([sys.executable, "-c", script], check=True)

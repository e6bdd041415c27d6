"""What `materialize` promises of the online store, each seen in Redis itself."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from jobs import arrow_query, materialize, postgres
from jobs.definitions import resolve
from jobs.feast_store import open_store
from jobs.online import key_sample
from jobs.online.current_rows import current_rows_of
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.offline import APRIL, FEBRUARY, JANUARY, MARCH, TABLES, OfflineStore, dump

STATUS, PLAN = f"feature-platform:{PROJECT}:status", f"feature-platform:{PROJECT}:plan"


def run(*flags: str) -> int:
    return materialize.main(list(flags))


def online(client: BytesRedis, user: str, view: str, feature: str) -> object:
    """The feature's value by Feast's own decoder; None for NULL, `absent` where the field was never written."""
    stored = client.hget(key_of(user), _mmh3(f"{view}:{feature}"))
    if stored is None:
        return "absent"
    value = Value.FromString(stored)
    kind = value.WhichOneof("val")
    return None if kind is None else getattr(value, kind)


def months_active(client: BytesRedis, user: str) -> object:
    return online(client, user, "subs_profile_fv", "months_active")


def as_of_online(client: BytesRedis, user: str, view: str = "subs_profile_fv") -> str | None:
    stored = client.hget(key_of(user), f"_ts:{view}")
    return None if stored is None else Timestamp.FromString(stored).ToJsonString()


def key_of(user: str) -> bytes:
    return _redis_key(PROJECT, EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]))


def watermark(client: BytesRedis, view: str = "subs_profile_fv") -> str:
    return str(json.loads(client.hget(STATUS, view) or b"{}")["watermark"])


def test_an_empty_offline_store_fails_until_a_snapshot_is_there_and_changes_nothing(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    assert "holds no snapshot yet" in capsys.readouterr().out
    assert dump(redis_client) == {}


def test_a_view_without_a_current_row_fails_the_run_before_anything_changes(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    platform.connection.execute("DELETE FROM offline.support_agg_90d_snapshots")
    assert run() == 3
    assert "support_agg_90d_fv has no row" in capsys.readouterr().out
    assert dump(redis_client) == {}


def test_an_instant_in_the_future_is_refused_also_with_rollback(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    assert run("--as-of", "2999-01-31", "--rollback") == 2
    assert "in the future" in capsys.readouterr().out
    assert dump(redis_client) == {}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--as-of", "January"), "'January' is not an instant; write a date like 2024-01-31"),
        (
            ("--feature-view", "nobody_fv"),
            "--feature-view nobody_fv is not a feature view; there are payments_agg_90d_fv",
        ),
    ],
)
def test_a_wrong_flag_is_named_with_what_is_right(
    platform: OfflineStore,
    redis_client: BytesRedis,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    sentence: str,
) -> None:
    platform.snapshot("a", JANUARY)
    assert run(*flags) == 2
    assert sentence in capsys.readouterr().out
    assert dump(redis_client) == {}


def test_the_newest_as_of_is_what_is_shown_by_default(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY, months_active=1)
    platform.snapshot("a", FEBRUARY, months_active=2)
    assert run() == 0
    assert months_active(redis_client, "a") == 2
    assert as_of_online(redis_client, "a") == "2024-02-29T00:00:00Z"
    assert watermark(redis_client) == "2024-02-29T00:00:00Z"


def test_values_and_nulls_are_what_postgres_holds(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY, monthly_fee=29.85, plan_stream_tv=None, paperless_billing=False, net_service="No")
    assert run() == 0
    assert online(redis_client, "a", "subs_profile_fv", "monthly_fee") == 29.85
    assert online(redis_client, "a", "subs_profile_fv", "plan_stream_tv") is None
    assert online(redis_client, "a", "subs_profile_fv", "paperless_billing") is False
    assert online(redis_client, "a", "subs_profile_fv", "net_service") == "No"


def test_a_correction_with_the_same_as_of_lands(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY, months_active=1)
    assert run() == 0
    platform.snapshot("a", JANUARY, JANUARY + timedelta(days=9), months_active=7)
    assert run() == 0
    assert months_active(redis_client, "a") == 7
    assert as_of_online(redis_client, "a") == "2024-01-31T00:00:00Z"


def test_a_tombstone_reads_as_no_row(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.many(["stays", "withdrawn", "never"], JANUARY, months_active=1)
    platform.many(["stays", "withdrawn"], FEBRUARY, months_active=2)
    assert run() == 0
    platform.snapshot("withdrawn", FEBRUARY, FEBRUARY + timedelta(days=9), tombstone=True)
    platform.snapshot("never", JANUARY, JANUARY + timedelta(days=40), tombstone=True)
    assert run() == 0
    assert months_active(redis_client, "stays") == 2
    assert months_active(redis_client, "withdrawn") == 1, "the month before is current again"
    assert not redis_client.exists(key_of("never"))


def test_a_leaver_disappears_once_the_last_row_is_older_than_the_ttl(
    platform: OfflineStore, redis_client: BytesRedis
) -> None:
    platform.many(["stays", "leaves"], JANUARY)
    platform.snapshot("stays", FEBRUARY)
    platform.snapshot("stays", MARCH)
    assert run("--as-of", "2024-02-29") == 0
    assert as_of_online(redis_client, "leaves") == "2024-01-31T00:00:00Z"
    assert run() == 0
    assert not redis_client.exists(key_of("leaves"))
    assert redis_client.exists(key_of("stays"))


def test_a_row_exactly_as_old_as_the_ttl_is_still_current(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    ttl_later = JANUARY + timedelta(days=45)
    assert run("--as-of", ttl_later.isoformat()) == 0
    assert months_active(redis_client, "a") == 1
    assert run("--as-of", (ttl_later + timedelta(microseconds=1)).isoformat()) == 3, "no view has a current row"
    assert months_active(redis_client, "a") == 1


def test_an_earlier_instant_than_the_watermark_needs_rollback(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY, months_active=1)
    assert run() == 0
    january = dump(redis_client)
    platform.many(["a", "b"], FEBRUARY, months_active=2)
    assert run() == 0
    february = dump(redis_client)
    assert run("--as-of", "2024-01-31") == 2
    assert "--rollback" in capsys.readouterr().out
    assert dump(redis_client) == february
    assert run("--as-of", "2024-01-31", "--rollback") == 0
    assert dump(redis_client) == january


def test_a_repeat_writes_nothing_and_says_so(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.many(["a", "b"], JANUARY)
    assert run() == 0
    before = dump(redis_client)
    writes = commands(redis_client, "hset") + commands(redis_client, "hdel")
    capsys.readouterr()
    assert run() == 0
    assert "nothing new" in capsys.readouterr().out
    assert dump(redis_client) == before
    assert commands(redis_client, "hset") + commands(redis_client, "hdel") == writes + 3, (
        "the status, start and end of the run"
    )


def test_an_emptied_redis_is_whole_after_one_run(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.many(["a", "b"], JANUARY)
    assert run() == 0
    before = dump(redis_client)
    assert redis_client.exists(PLAN)
    redis_client.flushall()
    assert run() == 0
    assert dump(redis_client) == before


def test_what_is_missing_or_wrong_in_redis_is_mended(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.many(["a", "b", "c"], JANUARY)
    assert run() == 0
    before = dump(redis_client)
    redis_client.delete(key_of("a"))
    redis_client.hset(key_of("b"), _mmh3("subs_profile_fv:months_active"), Value(int64_val=99).SerializeToString())
    redis_client.hdel(key_of("c"), _mmh3("subs_profile_fv:monthly_fee"))
    redis_client.hset(key_of("stranger"), "_ts:subs_profile_fv", b"")
    assert run() == 0
    assert dump(redis_client) == before


@pytest.mark.parametrize("text", [b"", b"null", b"{}", b'{"watermark": "soon"}', b"\xff"])
def test_a_status_that_cannot_be_read_is_none_and_is_mended(
    platform: OfflineStore, redis_client: BytesRedis, text: bytes
) -> None:
    platform.snapshot("a", JANUARY)
    assert run() == 0
    before = dump(redis_client)
    redis_client.hset(STATUS, "subs_profile_fv", text)
    assert run() == 0
    assert dump(redis_client) == before


def test_only_the_named_views_are_materialized(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    assert run("--feature-view", "subs_profile_fv") == 0
    assert months_active(redis_client, "a") == 1
    assert online(redis_client, "a", "usage_agg_30d_fv", "skips_7d") == "absent"
    assert list(redis_client.hgetall(STATUS)) == [b"subs_profile_fv"]


def test_keys_of_other_projects_and_other_users_of_redis_are_left_alone(
    platform: OfflineStore, redis_client: BytesRedis
) -> None:
    platform.snapshot("a", JANUARY)
    other = _redis_key("not" + PROJECT, EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="z")]))
    redis_client.hset(other, "_ts:subs_profile_fv", b"")
    redis_client.set("somebody else's", "string")
    assert run() == 0
    assert redis_client.exists(other)
    assert redis_client.get("somebody else's") == b"string"


def test_a_redis_that_cannot_hold_the_features_fails_the_run_and_nothing_claims_success(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    redis_client.config_set("maxmemory", "1")
    try:
        assert run() == 3
    finally:
        redis_client.config_set("maxmemory", "0")
    assert "need room in Redis, and 0.0 MB of its maxmemory" in capsys.readouterr().out
    assert not redis_client.exists(STATUS)
    assert platform.runs()[-1][1] == "failed"
    assert run() == 0


def test_a_redis_that_drops_what_was_written_fails_the_verification_and_nothing_claims_success(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.many([f"customer-{number}" for number in range(1500)], JANUARY)
    used = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory-policy", "allkeys-random")
    redis_client.config_set("maxmemory", used + 200_000)
    redis_client.execute_command("ACL", "SETUSER", "default", "-info")  # else it would not be begun
    try:
        assert run() == 1
    finally:
        redis_client.execute_command("ACL", "SETUSER", "default", "+info")
        redis_client.config_set("maxmemory", "0")
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert "the online store holds" in capsys.readouterr().out
    assert not redis_client.exists(STATUS)
    assert platform.runs()[-1][1] == "failed"
    assert run() == 0


def test_the_ledger_tells_of_every_run(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    assert run() == 0
    assert run("--as-of", "2999-01-01") == 2
    (_, state, code, summary), refused = platform.runs()
    assert (state, code) == ("succeeded", 0)
    assert "as_of 2024-01-31T00:00:00Z, 4 rows in 4 feature views, 4 written" in summary
    assert refused[1:3] == ("failed", 2)


def test_feasts_registry_learns_of_a_materialization_once(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    assert run() == 0
    assert run() == 0
    intervals = open_store(load_settings()).get_feature_view("subs_profile_fv").materialization_intervals
    assert [end for _, end in intervals] == [JANUARY]


def test_a_termination_message_is_left_where_kubernetes_looks(
    platform: OfflineStore,
    redis_client: BytesRedis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = tmp_path / "termination-log"
    monkeypatch.setenv("FEATURE_PLATFORM_TERMINATION_LOG", str(message))
    platform.snapshot("a", APRIL)
    assert run() == 0
    assert message.read_text() == capsys.readouterr().out.strip()


def test_the_tables_that_these_tests_fill_are_those_of_the_views(platform: OfflineStore) -> None:
    assert {view.source for view in resolve(open_store(load_settings())).views} == set(TABLES)


def commands(client: BytesRedis, name: str) -> int:
    statistics = client.info("commandstats")
    return int(statistics.get(f"cmdstat_{name}", {}).get("calls", 0))


def test_a_source_may_be_a_query_with_percent_signs(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.many(["a1", "a2", "b1"], JANUARY)
    view = resolve(open_store(load_settings())).views[0]
    query = f"(SELECT * FROM {view.relation} WHERE user_id LIKE 'a%')"
    with postgres.connect("test") as snapshot:
        rows = current_rows_of(snapshot, replace(view, relation=query), JANUARY, [("a1",), ("a2",), ("b1",)])
        assert sorted(rows) == [("a1",), ("a2",)]


def test_a_load_reads_each_entity_back_once_also_one_without_a_row_of_some_view(
    platform: OfflineStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sample, "SAMPLE", 10)
    users = [f"customer-{number}" for number in range(100)]
    platform.many(users, JANUARY)
    table, plausible = next(iter(TABLES.items()))
    platform.row(table, "of one view", JANUARY, None, **plausible)
    before = {name: commands(redis_client, name) for name in ("hvals", "hgetall", "hmget")}
    assert run() == 0
    assert commands(redis_client, "hvals") - before["hvals"] == len(users) + 1
    for name in ("hgetall", "hmget"):
        assert commands(redis_client, name) - before[name] < len(users) / 2, name


def test_fields_of_others_in_the_same_hashes_stay_and_hide_nothing(
    platform: OfflineStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_query, "BATCH_BYTES", 1 << 10)  # many blocks
    users = [f"customer-{number}" for number in range(100)]
    platform.many(users, JANUARY)
    assert run() == 0
    for user in users[::2]:
        redis_client.hset(key_of(user), "somebody else's", b"field")
    platform.many(users, FEBRUARY, months_active=2)
    assert run() == 0
    assert {months_active(redis_client, user) for user in users} == {2}
    assert {redis_client.hget(key_of(user), "somebody else's") for user in users[::2]} == {b"field"}
    assert run("--verify", "full") == 0

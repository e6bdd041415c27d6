"""A month that does not fit into Redis is not begun, and one that fits is not kept from it."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import psycopg
import pytest
import redis
from psycopg import sql
from redis.cluster import RedisCluster

from jobs import materialize, postgres
from jobs.definitions import Feature, JoinKey, SnapshotView
from jobs.local.servers import RedisServer
from jobs.online import store
from jobs.online.entity_group import EntityGroup
from jobs.online.memory import Growth
from jobs.online.partition_task import PartitionTask, offline_store
from jobs.online.wire import opened_wires
from jobs.process import LOOPBACK
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.offline import FEBRUARY, JANUARY, TABLES, OfflineStore, dump
from tests.process_support import wait_for
from tests.redis_kinds import StartRedis, form_cluster

CUSTOMERS = 5000
NEEDED = 2_200_000
"""About what as many customers need."""
LITTLE = 400_000
"""What connections need, and hardly a customer more."""
STATUS = f"feature-platform:{PROJECT}:status"


def fill(platform: OfflineStore, as_of: datetime, customers: int = CUSTOMERS) -> None:
    """The same plausible row for each customer."""
    for table, plausible in TABLES.items():
        query = sql.SQL(
            "INSERT INTO offline.{} (user_id, as_of, created_at, {}) "
            "SELECT 'customer-' || n, {}, now(), {} FROM generate_series(1, {}) AS n"
        ).format(
            sql.Identifier(table), _comma(map(sql.Identifier, plausible)), sql.Literal(as_of),
            _comma(map(sql.Literal, plausible.values())), sql.Literal(customers),
        )  # fmt: skip
        platform.connection.execute(query)


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


@contextmanager
def left(client: Any, size: int, policy: str = "noeviction") -> Iterator[None]:
    """Within, so many bytes of maxmemory are left."""
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", client.info("memory")["used_memory"] + size)
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def untold(client: Any) -> Iterator[None]:
    """Within, Redis tells nobody how much memory it has."""
    client.execute_command("ACL", "SETUSER", "default", "-info")
    try:
        yield
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+info")


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
    """The exit code, the summary, and the log's events by name."""
    capsys.readouterr()
    code = materialize.main(list(flags))
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.err.splitlines()]
    return code, told.out, {line["event"]: line for line in lines}


def test_a_month_that_does_not_fit_is_refused_before_the_first_write_with_both_numbers(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(platform, JANUARY, customers=100)
    assert run(capsys)[0] == 0
    fill(platform, FEBRUARY)
    before, status = dump(redis_client), redis_client.hgetall(STATUS)
    with left(redis_client, NEEDED // 2):
        code, summary, _ = run(capsys)
    assert code == 3
    assert re.search(
        r"the features as of 2024-02-29T00:00:00Z need about 2\.\d MB more in Redis, and 1\.\d MB of its maxmemory of "
        r"\d\.\d MB are left; nothing was changed. Raise maxmemory, or remove what else is kept there",
        summary,
    )
    assert dump(redis_client) == before
    assert redis_client.hgetall(STATUS) == status
    assert platform.runs()[-1][1] == "failed"
    assert run(capsys)[0] == 0
    assert redis_client.dbsize() > CUSTOMERS


def test_a_month_that_fits_is_written(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(platform, JANUARY)
    with left(redis_client, NEEDED * 3 // 2):
        code, _, events = run(capsys)
    assert code == 0
    assert 0.8 * NEEDED < events["memory_checked"]["needed"] < 1.3 * NEEDED


def test_a_redis_that_is_nearly_full_takes_a_repeat_a_correction_and_the_next_month_of_the_same_customers(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(platform, JANUARY)
    assert run(capsys)[0] == 0
    with left(redis_client, LITTLE):
        assert "memory_checked" not in run(capsys)[2], "where nothing is to be filled nothing is asked"
        assert run(capsys, "--verify", "full")[0] == 0
        platform.snapshot("customer-7", JANUARY, FEBRUARY, months_active=9)
        assert run(capsys, "--as-of", JANUARY.isoformat())[0] == 0
        fill(platform, FEBRUARY)
        code, summary, _ = run(capsys)
    assert code == 0
    assert f"{4 * CUSTOMERS} written" in summary


def test_a_redis_without_a_limit_is_not_asked_further(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    code, _, events = run(capsys)
    assert code == 0
    assert not {event for event in events if event.startswith("memory")}


def test_a_redis_that_does_not_tell_is_written_to_and_the_log_says_that_it_was_not_asked(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.snapshot("a", JANUARY)
    with left(redis_client, NEEDED), untold(redis_client):
        code, _, events = run(capsys)
    assert code == 0
    assert "info" in events["memory_not_checked"]["reason"]


def test_the_rights_that_the_chart_gives_the_jobs_are_enough_to_ask(
    platform: OfflineStore,
    redis_client: BytesRedis,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    template = (REPOSITORY / "charts/feature-platform/templates/redis/configmap.yaml").read_text()
    found = re.search(r"user jobs ((?:[^\\\n]|\\\n)+)", template)
    assert found is not None
    rights = shlex.split(found[1].replace("\\\n", " "))
    redis_client.execute_command("ACL", "SETUSER", "jobs", "on", ">0123", "resetchannels", "-@all", *rights)
    address = f"{redis_server.host}:{redis_server.port},username=jobs,password=0123"
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", address)
    fill(platform, JANUARY)
    try:
        with left(redis_client, NEEDED // 2):
            assert run(capsys)[0] == 3
        with left(redis_client, NEEDED * 3 // 2):
            code, _, events = run(capsys)
    finally:
        redis_client.execute_command("ACL", "DELUSER", "jobs")
    assert code == 0
    assert "memory_checked" in events


def test_a_redis_that_is_full_in_the_middle_fails_the_run_which_says_so_and_the_next_one_heals(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(platform, JANUARY, customers=100)
    assert run(capsys)[0] == 0
    status = redis_client.hgetall(STATUS)
    fill(platform, FEBRUARY)
    with left(redis_client, NEEDED // 2), untold(redis_client):
        code, summary, _ = run(capsys)
    assert code == 1
    assert "Redis said: OOM command not allowed" in summary
    assert "raise maxmemory, or remove what else is kept there, then run it again" in summary
    assert redis_client.hgetall(STATUS) == status
    assert redis_client.dbsize() < CUSTOMERS
    assert run(capsys)[0] == 0
    healed = dump(redis_client)
    redis_client.flushall()
    assert run(capsys)[0] == 0
    assert dump(redis_client) == healed


@pytest.mark.parametrize(("policy", "is_told"), [("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)])
def test_a_policy_that_may_drop_features_is_told_in_the_log(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str], policy: str, is_told: bool
) -> None:
    platform.snapshot("a", JANUARY)
    with left(redis_client, NEEDED, policy):
        code, _, events = run(capsys)
    assert code == 0
    assert ("features_may_be_dropped" in events) == is_told


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
def test_what_would_push_out_features_is_refused_as_well(
    platform: OfflineStore, redis_client: BytesRedis, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    fill(platform, JANUARY)
    with left(redis_client, NEEDED // 2, policy):
        assert run(capsys)[0] == 3
    assert not redis_client.exists(STATUS)


def test_a_redis_that_makes_room_by_what_expires_is_not_refused(
    platform: OfflineStore, redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(platform, JANUARY)
    for number in range(100):
        redis_client.set(f"cache-{number}", bytes(100_000), ex=3600)
    with left(redis_client, LITTLE, "volatile-lru"):
        code, _, events = run(capsys)
    assert code == 0
    assert "volatile-lru" in events["memory_not_checked"]["reason"]


def test_each_master_of_a_cluster_needs_room_for_its_part(
    platform: OfflineStore,
    redis_children: StartRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(platform, JANUARY)
    nodes = form_cluster(redis_children, 3)
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", ",".join(node.address for node in nodes))
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_TYPE", "redis_cluster")
    with left(nodes[0].client, NEEDED), left(nodes[1].client, NEEDED // 6), left(nodes[2].client, NEEDED):
        code, summary, _ = run(capsys)
    assert code == 3
    assert re.search(rf"need about 0\.\d MB more in Redis at {LOOPBACK}:{nodes[1].port}, and 0\.\d MB", summary)
    assert dump(cast(BytesRedis, RedisCluster(host=LOOPBACK, port=nodes[0].port))) == {}
    with left(nodes[0].client, NEEDED), left(nodes[1].client, NEEDED), left(nodes[2].client, NEEDED):
        assert run(capsys)[0] == 0


# --- what is estimated, and what Redis then really takes


@dataclass(frozen=True)
class Shape:
    """What a group of views is like."""

    views: int
    features: int
    """Of each view; every other one a text."""
    letters: tuple[int, int]
    """The texts' least and greatest length."""
    entities: int = 1500
    of_which: tuple[float, ...] = (1.0,)
    """Of the entities how many each view has a row of."""


COMPACT_FIELDS = 64
"""A hash with more fields is laid out in the other, larger way; set here, for Redis' own limit differs by version."""
SHAPES = {
    "one number": Shape(1, 1, (0, 0), entities=9000),
    "so many that a part is counted": Shape(1, 2, (1, 30), entities=20_000),
    "short texts": Shape(2, 8, (0, 20)),
    "texts around the limit of the compact encoding": Shape(1, 4, (30, 90)),
    "long texts": Shape(1, 6, (500, 4000)),
    "many features": Shape(1, 50, (1, 30)),
    "more features than the compact encoding takes": Shape(4, 20, (1, 30)),
    "views of different entities": Shape(3, 6, (1, 40), of_which=(1.0, 0.5, 0.1)),
}


class Group:
    """A group of that shape, its tables, and what Redis makes of it."""

    def __init__(self, connection: psycopg.Connection, shape: Shape) -> None:
        self._connection, self.shape = connection, shape
        self.group = EntityGroup(PROJECT, tuple(_view(number, shape.features) for number in range(shape.views)))
        for view in self.group.views:
            columns = [
                sql.SQL("{} {}").format(sql.Identifier(one.column), sql.SQL(_TYPES[one.type])) for one in view.features
            ]
            query = sql.SQL("CREATE TABLE {} (user_id text, as_of timestamptz, {})")
            connection.execute(query.format(sql.SQL(view.relation), _comma(columns)))

    def add(self, as_of: datetime, letters: tuple[int, int]) -> None:
        """Rows of all entities, with texts of other lengths than the shape says."""
        for place, view in enumerate(self.group.views):
            share = self.shape.of_which[place % len(self.shape.of_which)]
            values = [
                sql.SQL("n * 1000" if one.type == "INT64" else f"repeat('x', {letters[0]} + (random() * {span})::int)")
                for one in view.features
                for span in [letters[1] - letters[0]]
            ]
            query = sql.SQL("INSERT INTO {} SELECT 'customer-' || n, {}, {} FROM generate_series(1, {}) AS n").format(
                sql.SQL(view.relation), sql.Literal(as_of), _comma(values),
                sql.Literal(int(share * self.shape.entities)),
            )  # fmt: skip
            self._connection.execute(query)

    def estimated_and_real(self, client: Any, as_of: datetime) -> tuple[float, int]:
        """By how many bytes Redis was to grow, and by how many it then has."""
        with offline_store() as database:
            with store.connect(load_settings()) as ours, opened_wires(ours) as wires, database.session() as session:
                estimated = Growth(wires, self.group).of_all(session, as_of)
            before = _used(client)
            with postgres.connect("test") as snapshot:
                snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                (snapshot_id,) = cast("tuple[str]", snapshot.execute("SELECT pg_export_snapshot()").fetchone())
                task = PartitionTask(self.group, as_of, snapshot_id, compare=False)
                task.run(load_settings(), database, lambda: None, lambda _: None)
        return estimated, _used(client) - before


def _used(client: Any) -> int:
    """In bytes, once nobody else is connected: connections take some too."""
    wait_for(lambda: client.info("clients")["connected_clients"] == 1, "our connection is the only one")
    return int(client.info("memory")["used_memory"])


_TYPES = {"INT64": "bigint", "STRING": "text"}


def _view(number: int, features: int) -> SnapshotView:
    names = [f"f{place}" for place in range(features)]
    kinds = ["INT64" if place % 2 == 0 else "STRING" for place in range(features)]
    return SnapshotView(
        name=f"view_{number}", join_keys=(JoinKey("user_id", "user_id", "STRING"),), relation=f"public.view_{number}",
        source=f"view_{number}", as_of_column="as_of", created_at_column=None, tombstone_column=None, ttl=None,
        features=tuple(Feature(name, name, kind, "", {}) for name, kind in zip(names, kinds, strict=True)),
        description="", owner="", tags={},
    )  # fmt: skip


@pytest.fixture(params=SHAPES)
def group(request: pytest.FixtureRequest, migrated_database: str, redis_client: redis.Redis) -> Iterator[Group]:
    limit = "hash-max-ziplist-entries"  # by this name all versions know it
    before = cast("dict[str, str]", redis_client.config_get(limit))[limit]
    redis_client.config_set(limit, COMPACT_FIELDS)
    try:
        with postgres.connect("test", autocommit=True) as connection:
            yield Group(connection, SHAPES[request.param])
    finally:
        redis_client.config_set(limit, before)


def test_a_first_load_takes_what_was_estimated(group: Group, redis_client: redis.Redis) -> None:
    group.add(JANUARY, group.shape.letters)
    estimated, real = group.estimated_and_real(redis_client, JANUARY)
    assert 0.8 * real < estimated < 1.3 * real


def test_the_next_month_of_the_same_entities_takes_the_little_that_was_estimated(
    group: Group, redis_client: redis.Redis
) -> None:
    group.add(JANUARY, group.shape.letters)
    _, first = group.estimated_and_real(redis_client, JANUARY)
    group.add(FEBRUARY, group.shape.letters)
    estimated, real = group.estimated_and_real(redis_client, FEBRUARY)
    assert abs(estimated - real) < 0.1 * first


def test_longer_texts_take_what_was_estimated_also_where_they_end_the_compact_encoding(
    group: Group, redis_client: redis.Redis
) -> None:
    group.add(JANUARY, (0, 5))
    group.estimated_and_real(redis_client, JANUARY)
    group.add(FEBRUARY, (100, 200))
    estimated, real = group.estimated_and_real(redis_client, FEBRUARY)
    assert 0.8 * real < estimated < 1.3 * real or group.shape.features == 1, "one number is no text"

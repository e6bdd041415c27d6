"""`store.materialize` on our engine: Feast's own bytes where Feast is right, and the right ones where it is not."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from feast import FeatureStore
from feast.infra.compute_engines.local.compute import LocalComputeEngine

from jobs.errors import LockHeldError
from jobs.feast_plugins.compute_engine import StreamingComputeEngine
from jobs.feast_store import open_store
from jobs.lock import WRITER_LOCK
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.integration.test_materialize import as_of_online, months_active
from tests.offline import FEBRUARY, JANUARY, MARCH, OfflineStore, dump

USERS = [f"customer-{number}" for number in range(50)]
WINDOW = timedelta(days=45)


@pytest.fixture
def store(platform: OfflineStore) -> FeatureStore:
    """The shipped repository, as its feature_store.yaml says."""
    return open_store(load_settings())


@pytest.fixture
def stock(store: FeatureStore) -> FeatureStore:
    """The same, with Feast's own engine."""
    config = store.config.model_copy()
    config.batch_engine_config = "local"
    return FeatureStore(config=config)


def materialize(store: FeatureStore, end: datetime, start: datetime | None = None) -> None:
    store.materialize(start or end - WINDOW, end)


def features(client: BytesRedis) -> dict[bytes, dict[bytes, bytes]]:
    """What Redis holds of entities."""
    return {key: fields for key, fields in dump(client).items() if not key.startswith(b"feature-platform:")}


def test_it_is_the_engine_of_the_shipped_repository(store: FeatureStore) -> None:
    provider: Any = store._get_provider()
    assert isinstance(provider.batch_engine, StreamingComputeEngine)


def test_the_same_bytes_as_feasts_own_engine(
    platform: OfflineStore, store: FeatureStore, stock: FeatureStore, redis_client: BytesRedis
) -> None:
    platform.many(USERS, JANUARY)
    platform.many(USERS[10:], FEBRUARY, months_active=2)
    platform.snapshot("nothing", FEBRUARY, months_active=None, monthly_fee=None, net_service=None)
    materialize(stock, FEBRUARY)
    theirs = features(redis_client)
    redis_client.flushall()
    materialize(store, FEBRUARY)
    assert features(redis_client) == theirs
    assert len(theirs) == 51


def test_what_the_window_does_not_hold_is_left_alone(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis
) -> None:
    platform.snapshot("left", JANUARY)
    platform.snapshot("a", MARCH)
    materialize(store, JANUARY)
    materialize(store, MARCH, start=MARCH)
    assert months_active(redis_client, "left") == 1
    assert months_active(redis_client, "a") == 1, "and a window's start belongs to it"


def test_a_correction_with_an_unchanged_event_timestamp_lands(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis
) -> None:
    platform.snapshot("a", JANUARY)
    materialize(store, JANUARY)
    platform.snapshot("a", JANUARY, FEBRUARY, months_active=7)
    materialize(store, JANUARY)
    assert months_active(redis_client, "a") == 7


def test_an_older_row_never_replaces_a_newer_one(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis
) -> None:
    platform.many(USERS, JANUARY)
    platform.many(USERS[:10], FEBRUARY, months_active=2)
    materialize(store, FEBRUARY)
    materialize(store, JANUARY)
    assert months_active(redis_client, USERS[0]) == 2
    assert as_of_online(redis_client, USERS[0]) == "2024-02-29T00:00:00Z"
    assert months_active(redis_client, USERS[-1]) == 1


def test_a_failure_is_raised_and_not_swallowed(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis
) -> None:
    platform.snapshot("a", JANUARY)
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(Exception, match="OOM"):
            materialize(store, JANUARY)
    finally:
        redis_client.config_set("maxmemory", "0")


def test_it_waits_for_the_writer_lock_and_gives_up(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.snapshot("a", JANUARY)
    monkeypatch.setattr("jobs.feast_plugins.compute_engine.LOCK_WAIT_SECONDS", 0.0)
    with psycopg.connect("", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (WRITER_LOCK,))
        with pytest.raises(LockHeldError):
            materialize(store, JANUARY)
    assert features(redis_client) == {}


def test_what_it_cannot_stream_is_left_to_feasts_engine(
    platform: OfflineStore, store: FeatureStore, redis_client: BytesRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.snapshot("a", JANUARY)
    store.config.online_store.key_ttl_seconds = 1000
    asked: list[str] = []
    original = LocalComputeEngine._materialize_one

    def watched(self: LocalComputeEngine, registry: Any, task: Any, **kwargs: Any) -> Any:
        asked.append(task.feature_view.name)
        return original(self, registry, task, **kwargs)

    monkeypatch.setattr(LocalComputeEngine, "_materialize_one", watched)
    materialize(store, JANUARY)
    assert len(asked) == 4
    assert months_active(redis_client, "a") == 1

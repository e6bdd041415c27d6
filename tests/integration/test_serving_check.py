"""The check that what is served is what Postgres says: it passes where that is so, and names what is not."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from feature_repo.sample import exports, generate, write_export
from jobs.instants import isoformat
from jobs.local.platform import JobOutcome, LocalPlatform
from jobs.online.encoding import (
    encode_timestamp,
    entity_key_prefix,
    entity_key_value,
    feature_field,
    timestamp_field,
    value_encoder,
)
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.offline import JANUARY

VIEW, FEATURE = "subs_profile_fv", "months_active"


def entity(customer: str) -> bytes:
    return entity_key_prefix(["user_id"]) + entity_key_value(customer, "STRING") + PROJECT.encode()


def check(platform: LocalPlatform) -> JobOutcome:
    return platform.run_job("serving_check", "--gateway", platform.gateway_url)


@pytest.fixture(scope="module")
def not_materialized(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform with a month ingested and a gateway that counts ages from now."""
    folder = tmp_path_factory.mktemp("checked")
    servers = Path(tempfile.mkdtemp(prefix="checked-", dir=servers_folder))
    servers.chmod(0o755)
    platform = LocalPlatform(servers, folder / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        assert platform.run_job("apply").exit_code == 0
        for export in generate(months=1):
            write_export(export, folder / "exports")
        (month,) = exports(folder / "exports")
        when = ["--as-of", isoformat(month.as_of), "--delivered-at", isoformat(month.delivered_at)]
        assert platform.run_job("ingest", *when, month.path).exit_code == 0
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def refusal_before(not_materialized: LocalPlatform) -> JobOutcome:
    return check(not_materialized)


@pytest.fixture(scope="module")
def platform(not_materialized: LocalPlatform, refusal_before: JobOutcome) -> LocalPlatform:
    assert not_materialized.run_job("materialize").exit_code == 0
    return not_materialized


@pytest.fixture
def online(platform: LocalPlatform) -> Iterator[BytesRedis]:
    client = redis.Redis(host=platform.redis.host, port=platform.redis.port, password=platform.redis.password)
    yield cast(BytesRedis, client)
    client.close()


@pytest.fixture
def customer(platform: LocalPlatform) -> str:
    """One of those that are compared: the first in Postgres' order."""
    with platform.postgres.connect(platform.environment["PGDATABASE"]) as connection:
        row = connection.execute(
            "SELECT user_id FROM offline.subscriptions_profile_snapshots ORDER BY user_id LIMIT 1"
        ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def hash_as_it_was(online: BytesRedis, customer: str) -> Iterator[None]:
    before = online.hgetall(entity(customer))
    yield
    online.delete(entity(customer))
    online.hset(entity(customer), mapping=dict(before))


def test_says_how_to_materialize_where_nothing_is(refusal_before: JobOutcome) -> None:
    assert refusal_before.exit_code == 1
    assert "is not materialized yet; run `python -m jobs.materialize`" in refusal_before.summary


def test_passes_and_says_what_it_compared(platform: LocalPlatform) -> None:
    outcome = check(platform)
    assert outcome.exit_code == 0, outcome.summary
    assert outcome.summary == (
        "serving_check: done: 14 features of churn_v1 of 10 entities at 2024-01-31T00:00:00Z "
        f"through {platform.gateway_url} equal Postgres"
    )


@pytest.mark.usefixtures("hash_as_it_was")
def test_names_the_feature_the_entity_and_both_values_where_one_differs(
    platform: LocalPlatform, online: BytesRedis, customer: str
) -> None:
    online.hset(entity(customer), feature_field(VIEW, FEATURE), value_encoder("INT64")(777))
    outcome = check(platform)
    assert outcome.exit_code == 1
    assert f"1 values differ: {FEATURE} of {customer}: Postgres says" in outcome.summary
    assert "the gateway 777 (PRESENT)" in outcome.summary


@pytest.mark.usefixtures("hash_as_it_was")
def test_notices_a_null_where_there_is_a_value(platform: LocalPlatform, online: BytesRedis, customer: str) -> None:
    online.hset(entity(customer), feature_field(VIEW, FEATURE), b"")
    outcome = check(platform)
    assert outcome.exit_code == 1
    assert "the gateway None (NULL_VALUE)" in outcome.summary


@pytest.mark.usefixtures("hash_as_it_was")
def test_notices_a_customer_who_is_not_there(platform: LocalPlatform, online: BytesRedis, customer: str) -> None:
    online.delete(entity(customer))
    outcome = check(platform)
    assert outcome.exit_code == 1
    assert outcome.summary.startswith("serving_check: failed (exit 1): 14 values differ")


@pytest.mark.usefixtures("hash_as_it_was")
def test_notices_a_row_of_another_month(platform: LocalPlatform, online: BytesRedis, customer: str) -> None:
    another = JANUARY.replace(day=1)
    online.hset(entity(customer), timestamp_field(VIEW), encode_timestamp(another))
    outcome = check(platform)
    assert outcome.exit_code == 1
    assert "it is of 2024-01-31T00:00:00Z, the gateway says 2024-01-01T00:00:00Z" in outcome.summary


def test_notices_that_an_unknown_entity_is_known(platform: LocalPlatform, online: BytesRedis) -> None:
    stranger = entity("nobody-of-the-serving-check")
    online.hset(stranger, timestamp_field(VIEW), encode_timestamp(JANUARY))
    try:
        outcome = check(platform)
    finally:
        online.delete(stranger)
    assert outcome.exit_code == 1
    assert "who is unknown, and should say 404" in outcome.summary


def test_a_gateway_that_is_not_there_is_named(platform: LocalPlatform) -> None:
    outcome = platform.run_job("serving_check", "--gateway", "http://127.0.0.1:9")
    assert outcome.exit_code == 1
    assert "the gateway at http://127.0.0.1:9 cannot be asked" in outcome.summary


def test_refuses_what_is_no_address(platform: LocalPlatform) -> None:
    outcome = platform.run_job("serving_check", "--gateway", "localhost:8000")
    assert outcome.exit_code == 2
    assert "must start with http:// or https://" in outcome.summary

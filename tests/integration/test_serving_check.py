"""The check that what is served is what Postgres says: it passes where that is so, and names what is not."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import psycopg
import pytest
import redis

from feature_repo.sample import generate, write_export
from jobs import serving_check
from jobs.local.platform import LocalPlatform
from jobs.online.encoding import (
    encode_timestamp,
    entity_key_prefix,
    entity_key_value,
    feature_field,
    timestamp_field,
)
from jobs.process import free_port
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.feast_values import message
from tests.gateway_support import gateway_process
from tests.integration.job_process import Ended, run, started
from tests.offline import FEBRUARY, JANUARY

VIEW, FEATURE = "subs_profile_fv", "months_active"
CUSTOMER = "7590-VHVEG"
EVERYBODY = "--entities=40"
STRANGER = "no-such-entity"
API_KEY = "a-key-of-the-check"
Check = Callable[..., Ended]


def entity(customer: str) -> bytes:
    return entity_key_prefix(["user_id"]) + entity_key_value(customer, "STRING") + PROJECT.encode()


def as_materialize(platform: LocalPlatform) -> dict[str, str]:
    """The environment of the login that `materialize` has."""
    return {**platform.environment, **platform._logins["materialize"]}


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the check."""

    def run_it(platform: LocalPlatform, *flags: str, gateway: str = "", **environment: str) -> Ended:
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name, value in {**as_materialize(platform), **environment}.items():
                monkeypatch.setenv(name, value)
            code = serving_check.main(["--gateway", gateway or platform.gateway_url, *flags])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert said.out.count("\n") == 1
        return Ended(code, said.out, said.err)

    return run_it


@contextmanager
def local_platform(servers_folder: Path, folder: Path, repository: Path, project: str) -> Iterator[LocalPlatform]:
    """An applied platform."""
    servers = Path(tempfile.mkdtemp(prefix="checked-", dir=servers_folder))
    servers.chmod(0o755)
    platform = LocalPlatform(servers, folder / "logs", repository, project)
    try:
        assert platform.run_job("apply").exit_code == 0
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def not_materialized(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform with a month of 40 customers ingested and a gateway that counts ages from the watermark."""
    folder = tmp_path_factory.mktemp("checked")
    with local_platform(servers_folder, folder, REPOSITORY / "feature_repo", PROJECT) as platform:
        export = next(generate(months=1, customers=40))
        assert platform.run_job("ingest", write_export(export, folder / "exports")).exit_code == 0
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        yield platform


@pytest.fixture(scope="module")
def refusal_before(not_materialized: LocalPlatform) -> Ended:
    address = not_materialized.gateway_url
    return run("jobs.serving_check", "--gateway", address, environment=as_materialize(not_materialized))


@pytest.fixture(scope="module")
def platform(not_materialized: LocalPlatform, refusal_before: Ended) -> LocalPlatform:
    assert not_materialized.run_job("materialize").exit_code == 0
    return not_materialized


@pytest.fixture
def postgres(platform: LocalPlatform) -> Iterator[psycopg.Connection]:
    with platform.postgres.connect(platform.environment["PGDATABASE"]) as connection:
        yield connection


@pytest.fixture
def online(platform: LocalPlatform) -> Iterator[BytesRedis]:
    """Redis; the customer's hash and the stranger's are as they were in the end."""
    opened = redis.Redis(host=platform.redis.host, port=platform.redis.port, password=platform.redis.password)
    client = cast(BytesRedis, opened)
    before = client.hgetall(entity(CUSTOMER))
    yield client
    client.delete(entity(CUSTOMER), entity(STRANGER))
    client.hset(entity(CUSTOMER), mapping=dict(before))
    opened.close()


# --- what is refused


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost", "http://"])
def test_what_is_no_address_of_a_gateway_exits_2(check: Check, platform: LocalPlatform, address: str) -> None:
    ended = check(platform, gateway=address)
    assert ended.code == 2
    assert f"--gateway {address} is no URL like http://localhost:8000" in ended.out


@pytest.mark.parametrize("number", ["0", "-1", "many", "10001"])
def test_a_number_of_entities_that_cannot_be_is_a_wrong_flag(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        serving_check.main(["--gateway", "http://localhost", f"--entities={number}"])
    assert stopped.value.code == 2
    assert f"'{number}' is not a number of entities from 1 to 10000" in capsys.readouterr().err


def test_where_nothing_is_materialized_it_says_how_to(refusal_before: Ended) -> None:
    assert refusal_before.code == 1
    assert "is not materialized yet; run `python -m jobs.materialize`, in a cluster `kubectl create job" in (
        refusal_before.out
    )


def test_a_gateway_that_does_not_answer_is_given_up_when_time_is_up(check: Check, platform: LocalPlatform) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    ended = check(platform, "--timeout=1", gateway=nowhere)
    assert ended.code == 1
    assert f"time was up before the gateway at {nowhere} answered GET /readyz: " in ended.out


def test_what_is_no_gateway_is_told_apart(check: Check, platform: LocalPlatform) -> None:
    metrics = f"http://127.0.0.1:{platform.metrics_port}"
    ended = check(platform, gateway=metrics)
    assert ended.code == 1
    assert f"what answers at {metrics} is no gateway of this platform: GET /readyz" in ended.out


# --- where all is equal


def test_it_says_in_one_line_what_was_compared(check: Check, platform: LocalPlatform) -> None:
    ended = check(platform)
    assert ended.code == 0, ended.out
    assert ended.out == (
        f"serving_check: 1 entity, 14 features of churn_v1 through {platform.gateway_url} equal Postgres "
        "at 2024-01-31T00:00:00Z\n"
    )


def test_it_compares_as_many_entities_as_it_is_told_to(check: Check, platform: LocalPlatform) -> None:
    assert "serving_check: 25 entities, 14 features of churn_v1" in check(platform, "--entities=25").out
    # There are no more.
    assert "serving_check: 40 entities, 14 features of churn_v1" in check(platform, "--entities=1000").out


def test_it_leaves_no_row_in_the_ledger(check: Check, platform: LocalPlatform, postgres: psycopg.Connection) -> None:
    count = "SELECT count(*) FROM ledger.runs"
    before = postgres.execute(count).fetchone()
    assert check(platform).code == 0
    assert postgres.execute(count).fetchone() == before


def test_a_gateway_that_starts_meanwhile_is_waited_for(platform: LocalPlatform, tmp_path: Path) -> None:
    port = str(free_port())
    here = as_materialize(platform)
    late = settings(platform, GATEWAY_PORT=port, FRESHNESS_REFERENCE="watermark")
    with (
        started("jobs.serving_check", "--gateway", f"http://127.0.0.1:{port}", environment=here) as job,
        gateway_process(tmp_path / "log", **late),
    ):
        ended = job.end()
    assert ended.code == 0, ended.out


def test_values_that_are_older_than_their_ttl_are_counted_as_hidden(
    check: Check, platform: LocalPlatform, tmp_path: Path
) -> None:
    with gateway_process(tmp_path / "log", **settings(platform, FRESHNESS_REFERENCE="now")) as gateway:
        ended = check(platform, "--entities=2", gateway=gateway.url)
    assert ended.code == 0, ended.out
    assert ended.out == (
        f"serving_check: 2 entities, 14 features of churn_v1 through {gateway.url} equal Postgres (28 of 28 values are "
        "older than their ttl and therefore null) at 2024-01-31T00:00:00Z\n"
    )


def test_a_gateway_that_wants_a_key_gets_the_one_of_the_environment_or_of_a_file(
    check: Check, platform: LocalPlatform, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "feature_platform_api_key").write_text(f"{API_KEY}\n")
    hashes = hashlib.sha256(API_KEY.encode()).hexdigest()
    wanted = settings(platform, API_KEY_HASHES=hashes, FRESHNESS_REFERENCE="watermark")
    with gateway_process(tmp_path / "log", **wanted) as gateway:
        without = check(platform, gateway=gateway.url)
        wrong = check(platform, gateway=gateway.url, FEATURE_PLATFORM_API_KEY="another-key")
        by_environment = check(platform, gateway=gateway.url, FEATURE_PLATFORM_API_KEY=API_KEY)
        by_file = check(platform, gateway=gateway.url, FEATURE_PLATFORM_SECRETS_DIR=str(tmp_path / "secrets"))
    for refused in (without, wrong):
        assert refused.code == 2
        assert (
            f"the gateway at {gateway.url} wants an API key; FEATURE_PLATFORM_API_KEY is missing or wrong"
            in refused.out
        )
        assert "another-key" not in refused.out + refused.err
    assert (by_environment.code, by_file.code) == (0, 0)


def settings(platform: LocalPlatform, **more: str) -> dict[str, str]:
    """Of a further gateway on the platform's Redis."""
    own = {f"FEATURE_PLATFORM_{name}": value for name, value in more.items()}
    return {name: value for name, value in platform.environment.items() if name.startswith("FEATURE_PLATFORM_")} | own


# --- where something differs


def assert_differs(check: Check, platform: LocalPlatform, *sentences: str) -> None:
    ended = check(platform, EVERYBODY)
    assert ended.code == 1, ended.out
    for sentence in sentences:
        assert sentence in ended.out


def test_another_value_is_named_with_its_feature_its_entity_and_both_values(
    check: Check, platform: LocalPlatform, online: BytesRedis
) -> None:
    online.hset(entity(CUSTOMER), feature_field(VIEW, FEATURE), message("INT64", 777))
    sentence = f"{FEATURE} of {CUSTOMER}: Postgres says 1, the gateway 777 (PRESENT)"
    assert_differs(check, platform, f"failed (exit 1): 1 difference at {platform.gateway_url}: {sentence}")


def test_a_null_where_there_is_a_value_differs(check: Check, platform: LocalPlatform, online: BytesRedis) -> None:
    online.hset(entity(CUSTOMER), feature_field(VIEW, FEATURE), b"")
    assert_differs(check, platform, "Postgres says 1, the gateway null (NULL_VALUE)")


def test_a_value_that_is_not_there_differs(check: Check, platform: LocalPlatform, online: BytesRedis) -> None:
    online.hdel(entity(CUSTOMER), feature_field(VIEW, FEATURE))
    assert_differs(check, platform, "Postgres says 1, the gateway null (NOT_FOUND)")


def test_an_entity_that_the_gateway_does_not_know_differs(
    check: Check, platform: LocalPlatform, online: BytesRedis
) -> None:
    online.delete(entity(CUSTOMER))
    assert_differs(check, platform, f"the gateway does not know {CUSTOMER}, of whom Postgres holds a row")


def test_a_row_of_another_instant_differs(check: Check, platform: LocalPlatform, online: BytesRedis) -> None:
    online.hset(entity(CUSTOMER), timestamp_field(VIEW), encode_timestamp(JANUARY - timedelta(days=30)))
    assert_differs(check, platform, "Postgres says it is of 2024-01-31T00:00:00Z, the gateway 2024-01-01T00:00:00Z")


def test_a_row_that_postgres_does_not_hold_differs(
    check: Check, platform: LocalPlatform, postgres: psycopg.Connection
) -> None:
    postgres.execute(
        "INSERT INTO offline.support_agg_90d_snapshots (user_id, as_of, created_at, tombstone) "
        "VALUES (%s, %s, now(), true)",
        (CUSTOMER, JANUARY),
    )
    try:
        assert_differs(check, platform, f"support_tickets_90d of {CUSTOMER}: Postgres holds no row, the gateway says ")
    finally:
        postgres.execute("DELETE FROM offline.support_agg_90d_snapshots WHERE tombstone")


def test_a_correction_after_the_last_materialization_differs(
    check: Check, platform: LocalPlatform, postgres: psycopg.Connection
) -> None:
    postgres.execute(
        "INSERT INTO offline.payments_agg_90d_snapshots (user_id, as_of, created_at, failed_payments_90d) "
        "VALUES (%s, %s, now(), 9)",
        (CUSTOMER, JANUARY),
    )
    try:
        assert_differs(check, platform, f"failed_payments_90d of {CUSTOMER}: Postgres says 9, the gateway 0 (PRESENT)")
    finally:
        postgres.execute("DELETE FROM offline.payments_agg_90d_snapshots WHERE failed_payments_90d = 9")


def test_a_month_that_is_not_materialized_yet_is_no_difference(
    check: Check, platform: LocalPlatform, postgres: psycopg.Connection
) -> None:
    postgres.execute(
        "INSERT INTO offline.payments_agg_90d_snapshots (user_id, as_of, created_at, failed_payments_90d) "
        "VALUES (%s, %s, now(), 9)",
        (CUSTOMER, FEBRUARY),
    )
    try:
        assert check(platform, EVERYBODY).code == 0
    finally:
        postgres.execute("DELETE FROM offline.payments_agg_90d_snapshots WHERE as_of = %s", (FEBRUARY,))


def test_an_entity_that_does_not_exist_and_is_known_is_a_failure(
    check: Check, platform: LocalPlatform, online: BytesRedis
) -> None:
    online.hset(entity(STRANGER), timestamp_field(VIEW), encode_timestamp(JANUARY))
    assert_differs(check, platform, f"knows {STRANGER}, who does not exist, and should say 404")


# --- another team's repository

OTHER_FEATURES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.STRING)


def source(name, **more):
    return PostgreSQLSource(name=name, table=name, timestamp_field="as_of", **more)


stock = FeatureView(
    name="stock_fv", entities=[shop, item], ttl=timedelta(0), source=source("stock", field_mapping={"s": "shop"}),
    schema=[Field(name="shop", dtype=Int64), Field(name="item", dtype=String), Field(name="price", dtype=Float32),
            Field(name="weight", dtype=Float64), Field(name="sizes", dtype=Array(Int64)),
            Field(name="raw", dtype=Bytes), Field(name="since", dtype=UnixTimestamp), Field(name="left", dtype=Int32),
            Field(name="new", dtype=Bool)])
shops = FeatureView(
    name="shops_fv", entities=[shop], ttl=timedelta(days=9), source=source("shops"),
    schema=[Field(name="shop", dtype=Int64), Field(name="town", dtype=String)])
world = FeatureView(
    name="world_fv", entities=[], ttl=timedelta(0), source=source("world"), schema=[Field(name="rate", dtype=Float64)])


@on_demand_feature_view(sources=[stock], schema=[Field(name="double", dtype=Float64)], mode="python")
def computed_fv(inputs):
    return {"double": [None if price is None else 2.0 * price for price in inputs["price"]]}


demand_v1 = FeatureService(name="demand_v1", features=[stock, shops, world, computed_fv], tags={"default": "true"})
"""
OTHER_TABLES = """
CREATE TABLE stock (s bigint, item text, as_of timestamptz, price double precision, weight double precision,
                    sizes bigint[], raw bytea, since timestamptz, "left" integer, new boolean);
CREATE TABLE shops (shop bigint, as_of timestamptz, town text);
CREATE TABLE world (as_of timestamptz, rate double precision);
"""


@pytest.fixture(scope="module")
def other_team(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Other entities, tables and types: two join keys, one of them, and none; and one feature computed on demand."""
    folder = tmp_path_factory.mktemp("other")
    repository = folder / "repository"
    (repository / "migrations").mkdir(parents=True)
    (repository / "demand_features.py").write_text(OTHER_FEATURES)
    (repository / "migrations" / "0001.sql").write_text(OTHER_TABLES)
    shutil.copy(REPOSITORY / "feature_repo" / "feature_store.yaml", repository)
    with local_platform(servers_folder, folder, repository, "demand") as platform:
        feature_server = platform.start_feature_server()
        with platform.postgres.connect(platform.environment["PGDATABASE"]) as connection:
            fill_other_tables(connection)
        ended = platform.run_job("materialize")
        assert ended.exit_code == 0, ended.summary
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        platform.wait_for_feature_server(feature_server)
        yield platform


def fill_other_tables(connection: psycopg.Connection) -> None:
    row = (JANUARY, 0.1, 1 / 3, [1, 2], b"\x00\xff", JANUARY + timedelta(seconds=1.5), -7, True)
    for number in range(1, 6):
        item = f"50% off/{number} é"
        connection.execute("INSERT INTO offline.stock VALUES (%s, %s" + ", %s" * 8 + ")", (number, item, *row))
    connection.execute("INSERT INTO offline.stock VALUES (9, 'nothing', %s)", (JANUARY,))
    connection.execute("INSERT INTO offline.stock VALUES (8, 'no number', %s, 'NaN', 'Infinity')", (JANUARY,))
    # Shop 2 is unknown, what is known of shop 3 is too old.
    for number in (1, 3, 4, 5, 8, 9):
        as_of = JANUARY - timedelta(days=20 if number == 3 else 1)
        connection.execute("INSERT INTO offline.shops VALUES (%s, %s, 'Ulm')", (number, as_of))
    connection.execute("INSERT INTO offline.world VALUES (%s, 0.3)", (JANUARY,))


def test_a_repository_of_other_keys_tables_and_types_is_compared_alike(check: Check, other_team: LocalPlatform) -> None:
    ended = check(other_team, "--entities=7")
    assert ended.code == 0, ended.out
    assert ended.out.startswith(
        f"serving_check: 7 entities, 9 features of demand_v1 through {other_team.gateway_url} equal Postgres "
        "(1 feature computed on demand not compared) at "
    )


def test_a_difference_there_is_named_with_all_join_keys(check: Check, other_team: LocalPlatform) -> None:
    with other_team.postgres.connect(other_team.environment["PGDATABASE"]) as connection:
        connection.execute("UPDATE offline.stock SET price = 0.2 WHERE s = 4")
        try:
            ended = check(other_team, "--entities=7")
        finally:
            connection.execute("UPDATE offline.stock SET price = 0.1 WHERE s = 4")
    assert ended.code == 1
    assert "1 difference at " in ended.out
    assert ": price of 50% off/4 é, 4: Postgres says 0.20000000298023224, the gateway 0.10000000149011612" in ended.out


def test_a_definition_that_the_gateway_does_not_serve_by_yet_is_told(check: Check, other_team: LocalPlatform) -> None:
    features = Path(other_team.environment["FEATURE_PLATFORM_REPO"]) / "demand_features.py"
    features.write_text(
        OTHER_FEATURES.replace('Field(name="new"', 'Field(name="weight2", dtype=Int64), Field(name="new"')
    )
    with other_team.postgres.connect(other_team.environment["PGDATABASE"]) as connection:
        connection.execute("ALTER TABLE offline.stock ADD COLUMN weight2 bigint")
    assert other_team.run_job("apply").exit_code == 0
    ended = check(other_team)
    assert ended.code == 1
    assert "the gateway's answer has no weight2" in ended.out
    assert other_team.run_job("materialize").exit_code == 0
    deadline = time.monotonic() + 60
    while check(other_team).code != 0:
        assert time.monotonic() < deadline, "the gateway takes the new plan"

"""What `apply` promises: all or nothing, the same again, and nobody loses a feature before its successor is filled."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from feast import FeatureStore
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from psycopg import sql

from jobs import materialize
from jobs.local.servers import PostgresServer
from jobs.online.serving_plan import ServingPlan, plan_key
from jobs.process import LOOPBACK, free_port
from tests import gateway_support as support
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.integration.job_process import Ended, run, started
from tests.offline import JANUARY, TABLES, OfflineStore, dump

APPLY = "jobs.apply"
NET_SERVICE = 'Field(name="net_service", dtype=String, description="Kind of internet service: DSL, Fiber optic or No"),'
CONTRACT_TYPE = 'Field(name="contract_type", dtype=String),'


class Definitions:
    """A copy of the shipped repository for a test to edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def edit(self, file: str, before: str, after: str) -> None:
        """Replace the one place in `file` where `before` stands."""
        text = (self.folder / file).read_text()
        assert text.count(before) == 1
        (self.folder / file).write_text(text.replace(before, after))

    def write(self, file: str, text: str) -> None:
        """Make `file` hold `text`."""
        (self.folder / file).write_text(text)


@pytest.fixture
def definitions(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definitions:
    """A copy of the shipped repository; the platform's settings name it."""
    copy = tmp_path / "feature_repo"
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("sample", "__pycache__"))
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(copy))
    return Definitions(copy)


def everything(connection: psycopg.Connection) -> dict[str, list[Any]]:
    """The rows of all tables of the registry and of the applied migrations, and the columns of the offline store."""
    tables = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'registry' OR tablename = 'migrations'"
    ).fetchall()
    held = {
        table: sorted(connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))), key=repr)
        for schema, table in tables
    }
    columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'offline'"
    return {**held, "offline": sorted(connection.execute(columns))}


def defined(connection: psycopg.Connection) -> dict[str, set[str]]:
    """The names of what the registry holds."""
    kinds = [("entities", "entity"), ("data_sources", "data_source"), ("feature_views", "feature_view"),
             ("on_demand_feature_views", "feature_view"), ("feature_services", "feature_service")]  # fmt: skip
    query = sql.SQL("SELECT {} FROM registry.{}")
    return {
        table: {
            name for (name,) in connection.execute(query.format(sql.Identifier(f"{kind}_name"), sql.Identifier(table)))
        }
        for table, kind in kinds
    }


def plan(client: BytesRedis) -> ServingPlan:
    """The plan that gateways serve by."""
    found = client.hget(plan_key(PROJECT), "json")
    assert found is not None
    return ServingPlan(found)


def served(client: BytesRedis) -> set[str]:
    """The features of subs_profile_fv that the plan reads."""
    return {feature for view, feature in plan(client).reads() if view == "subs_profile_fv"}


def stored(client: BytesRedis, feature: str) -> bytes | None:
    """The bytes of a feature of subs_profile_fv for customer `a`; None where the field is absent."""
    key = _redis_key(PROJECT, EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="a")]))
    return client.hget(key, _mmh3(f"subs_profile_fv:{feature}"))


def text(value: str) -> bytes:
    return bytes(Value(string_val=value).SerializeToString())


@pytest.fixture
def filled(platform: OfflineStore, redis_client: BytesRedis) -> OfflineStore:
    """A platform whose shipped definitions are applied, published and filled for January, with one customer `a`."""
    platform.snapshot("a", JANUARY)
    platform.connection.execute("UPDATE offline.subscriptions_profile_snapshots SET contract_type = 'Two year'")
    assert materialize.main([]) == 0
    return platform


# --- refusals: each is one sentence, and nothing has changed


def _two_defaults(repo: Definitions) -> None:
    repo.edit("features.py", "value_for_money_odfv],\n)", 'value_for_money_odfv],\n    tags={"default": "true"},\n)')


def _no_such_table(repo: Definitions) -> None:
    repo.edit("features.py", 'snapshot("payments_agg_90d_snapshots"', 'snapshot("payments_of_the_moon"')


def _broken_migration(repo: Definitions) -> None:
    repo.write("migrations/0002_broken.sql", "CREATE TABLE half (a int); ALTER TABLE nowhere ADD b int;")


def _changed_migration(repo: Definitions) -> None:
    repo.edit("migrations/0001_snapshots.sql", "-- What the monthly exports say", "-- Whatever")


REFUSALS: dict[str, tuple[Callable[[Definitions], None], int, str]] = {
    "no default service": (
        lambda repo: repo.edit("features.py", 'tags={"default": "true"},', ""),
        2, 'exactly one feature service must be tagged default: "true"',
    ),
    "two default services": (_two_defaults, 2, "found churn_v1, churn_v2"),
    "a feature service that lists a view twice": (
        lambda repo: repo.edit("features.py", "list(SNAPSHOT_VIEWS)", "[*SNAPSHOT_VIEWS, subs_profile_fv]"),
        2, "feature service churn_v1 lists feature subs_profile_fv:months_active more than once; list it once",
    ),
    "a syntax error": (
        lambda repo: repo.edit("features.py", "SNAPSHOT_VIEWS = [", "SNAPSHOT_VIEWS = [["),
        2, "cannot be read: SyntaxError: '[' was never closed",
    ),
    "a migration that was applied and changed": (
        _changed_migration, 2, "migration repository/0001_snapshots.sql was applied before with other contents",
    ),
    "a migration that does not run": (
        _broken_migration, 2, 'migration repository/0002_broken.sql does not run: relation "nowhere" does not exist',
    ),
    "a source without its table": (
        _no_such_table, 2,
        "feature view payments_agg_90d_fv does not fit its source payments_of_the_moon: "
        'relation "payments_of_the_moon" does not exist',
    ),
    "a feature without its column": (
        lambda repo: repo.edit("features.py", NET_SERVICE, 'Field(name="moon", dtype=String),'),
        2, 'feature view subs_profile_fv does not fit its source subscriptions_profile_snapshots: column "moon"',
    ),
    "another project": (
        lambda repo: repo.edit("feature_store.yaml", "${FEATURE_PLATFORM_PROJECT}", "elsewhere"),
        2, "feature_store.yaml says project elsewhere, FEATURE_PLATFORM_PROJECT says streamflow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_applied_is_refused_in_one_sentence_and_changes_nothing(
    case: str, platform: OfflineStore, redis_client: BytesRedis, definitions: Definitions
) -> None:
    edit, code, sentence = REFUSALS[case]
    edit(definitions)
    registry, online = everything(platform.connection), dump(redis_client)
    ended = run(APPLY)
    assert (ended.code, ended.out.count("\n")) == (code, 1)
    assert sentence in ended.out
    assert "Traceback" not in ended.err
    assert everything(platform.connection) == registry
    assert dump(redis_client) == online


def test_without_its_redis_apply_refuses_before_anything_changes(
    database: str, connection: psycopg.Connection, definitions: Definitions
) -> None:
    away = f"{LOOPBACK}:{free_port()},password=correct-horse"
    ended = run(APPLY, environment={"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": away})
    assert ended.code == 1
    assert ended.out.startswith("apply: failed (exit 1): Redis said: ")
    assert "correct-horse" not in ended.out + ended.err
    assert set(everything(connection)) == {"migrations", "offline"}
    assert everything(connection)["offline"] == []


# --- the first, the same again, and several at once


def test_four_first_applies_at_once_all_succeed_lose_no_definition_and_a_fifth_changes_nothing(
    database: str, connection: psycopg.Connection, redis_client: BytesRedis
) -> None:
    with ExitStack() as stack:
        jobs = [stack.enter_context(started(APPLY, "--lock-wait", "120")) for _ in range(4)]
        ended = [job.end() for job in jobs]
    assert [one.code for one in ended] == [0] * 4, [one.out for one in ended]
    assert sorted(how(one) for one in ended) == ["published", "unchanged", "unchanged", "unchanged"]
    assert defined(connection) == {
        "entities": {"user", "__dummy"},
        "data_sources": {
            "subscriptions_profile_snapshots", "usage_agg_30d_snapshots", "payments_agg_90d_snapshots",
            "support_agg_90d_snapshots",
        },
        "feature_views": {"subs_profile_fv", "usage_agg_30d_fv", "payments_agg_90d_fv", "support_agg_90d_fv"},
        "on_demand_feature_views": {"value_for_money_odfv"},
        "feature_services": {"churn_v1", "churn_v2"},
    }  # fmt: skip
    registry, online = everything(connection), dump(redis_client)
    fifth = run(APPLY)
    assert (fifth.code, how(fifth)) == (0, "unchanged")
    assert everything(connection) == registry
    assert dump(redis_client) == online


def how(ended: Ended) -> str:
    """What became of the plan, as the summary says it."""
    return ended.out.split("serving plan ")[1].split()[1]


# --- a plan that changes


def test_a_plan_with_a_new_feature_waits_until_it_is_filled_and_a_removed_ones_field_stays_until_after_that(
    filled: OfflineStore,
    redis_client: BytesRedis,
    definitions: Definitions,
    capsys: pytest.CaptureFixture[str],
) -> None:
    former, before = plan(redis_client), dump(redis_client)
    definitions.edit("features.py", NET_SERVICE, CONTRACT_TYPE)
    ended = run(APPLY)
    assert (ended.code, how(ended)) == (0, "waiting"), ended.out
    assert "waiting for a materialization that fills its new features" in ended.out
    assert dump(redis_client) == before, "the former plan serves on"

    assert materialize.main([]) == 0
    assert "serving plan published" in capsys.readouterr().out
    assert plan(redis_client) != former
    assert served(redis_client) >= {"contract_type", "months_active"}
    assert "net_service" not in served(redis_client)
    assert stored(redis_client, "contract_type") == text("Two year")
    assert stored(redis_client, "net_service") == text("DSL"), "gateways may still serve by the former plan"

    assert materialize.main([]) == 0
    assert stored(redis_client, "net_service") is None
    assert stored(redis_client, "contract_type") == text("Two year")


def test_a_plan_that_only_drops_and_renames_is_published_at_once_and_the_next_materialization_clears_the_fields(
    filled: OfflineStore, redis_client: BytesRedis, definitions: Definitions
) -> None:
    definitions.edit("features.py", NET_SERVICE, "")
    definitions.edit("features.py", 'name="churn_v2"', 'name="churn_v3"')
    ended = run(APPLY)
    assert (ended.code, how(ended)) == (0, "published"), ended.out
    assert defined(filled.connection)["feature_services"] == {"churn_v1", "churn_v3"}
    assert b'"churn_v3"' in plan(redis_client).text
    assert b'"churn_v2"' not in plan(redis_client).text
    assert "net_service" not in served(redis_client)
    assert stored(redis_client, "net_service") == text("DSL")
    assert materialize.main([]) == 0
    assert stored(redis_client, "net_service") is None
    assert stored(redis_client, "months_active") is not None


def test_a_new_view_waits_until_it_is_filled_and_a_dropped_one_leaves_no_trace(
    filled: OfflineStore, redis_client: BytesRedis, definitions: Definitions, repository: Path
) -> None:
    whole, shipped = dump(redis_client), (repository / "features.py").read_text()
    definitions.edit("features.py", "SNAPSHOT_VIEWS = [", "SNAPSHOT_VIEWS = [people_fv, ")
    definitions.edit("features.py", "subs_profile_fv = FeatureView(", f"{PEOPLE_FV}\nsubs_profile_fv = FeatureView(")
    filled.row("users_profile_snapshots", "a", JANUARY, user_is_senior=True)
    assert how(run(APPLY)) == "waiting"
    assert dump(redis_client) == whole
    assert materialize.main([]) == 0
    assert ("people_fv", "user_is_senior") in plan(redis_client).reads()

    definitions.write("features.py", shipped)
    assert how(run(APPLY)) == "published"
    assert materialize.main([]) == 0
    assert dump(redis_client) == whole


@pytest.mark.parametrize("text", [b"", b"no plan", b'{"format":1,"feature_services":{"churn_v1":null}}'])
def test_a_plan_that_nobody_can_read_is_replaced_and_keeps_no_materialization_from_its_work(
    filled: OfflineStore, redis_client: BytesRedis, text: bytes
) -> None:
    whole = dump(redis_client)
    for job in (APPLY, "jobs.materialize"):
        redis_client.hset(plan_key(PROJECT), mapping={"version": "x", "json": text})
        assert run(job).code == 0
        assert dump(redis_client) == whole


PEOPLE_FV = """people_fv = FeatureView(
    name="people_fv", entities=[user], ttl=TTL, source=snapshot("users_profile_snapshots", ""),
    schema=[Field(name="user_is_senior", dtype=Bool)],
)
"""


def test_an_emptied_redis_gets_the_plan_at_once(
    platform: OfflineStore, redis_client: BytesRedis, postgres_server: PostgresServer
) -> None:
    ended = run(APPLY)
    assert (ended.code, how(ended)) == (0, "published")
    assert "0 migrations" in ended.out
    assert {view for view, _ in plan(redis_client).reads()} == {
        "subs_profile_fv", "usage_agg_30d_fv", "payments_agg_90d_fv", "support_agg_90d_fv",
    }  # fmt: skip


def test_a_feature_service_that_lists_a_view_in_parts_is_the_same_everywhere(
    platform: OfflineStore, redis_client: BytesRedis, definitions: Definitions
) -> None:
    rest = '"months_active", "paperless_billing", "plan_stream_tv", "plan_stream_movies", "net_service"'
    parts = f'[subs_profile_fv[["monthly_fee"]], payments_agg_90d_fv, subs_profile_fv[[{rest}]]]'
    definitions.edit("features.py", "features=list(SNAPSHOT_VIEWS),", f"features={parts},")
    platform.snapshot("a", JANUARY)
    assert run(APPLY).code == 0
    assert run("jobs.materialize").code == 0
    expected = TABLES["subscriptions_profile_snapshots"] | TABLES["payments_agg_90d_snapshots"]
    store = FeatureStore(repo_path=str(definitions.folder))
    service = store.get_feature_service("churn_v1")
    with support.in_process(freshness_reference="watermark") as http:
        answer = http.get("/features/a").json()["features"]
        many = http.post("/features", json={"entities": {"user_id": ["a"]}}).json()["results"][0]["features"]
        feast = http.post(
            "/get-online-features", json={"entities": {"user_id": ["a"]}, "feature_service": "churn_v1"}
        ).json()
    names = feast["metadata"]["feature_names"][1:]
    assert list(answer) == names == ["monthly_fee", "failed_payments_90d", *rest.replace('"', "").split(", ")]
    assert (
        answer == many == dict(zip(names, [one["values"][0] for one in feast["results"][1:]], strict=True)) == expected
    )
    online = store.get_online_features(service, [{"user_id": "a"}]).to_dict()
    assert {name: online[name] for name in names} == {name: [value] for name, value in expected.items()}
    asked = pd.DataFrame({"user_id": ["a"], "event_timestamp": [JANUARY]})
    [row] = store.get_historical_features(asked, service).to_arrow().to_pylist()
    assert {name: row[name] for name in names} == expected

"""Everything that a repository asks for and the platform cannot honour is named by one run, before anything changes."""

import itertools
from pathlib import Path

import psycopg
import pytest

from jobs import apply
from jobs.definitions import resolve
from jobs.feast_store import open_store
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.conftest import REPOSITORY
from tests.integration.job_process import Ended
from tests.offline import dump

MODULES = itertools.count()
HEADER = """from datetime import timedelta
from feast import BatchFeatureView, Entity, FeatureService, FeatureView, Field, PushSource, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Bool, Float64, Int64, Map, String

KEY = Field(name="user_id", dtype=String)
A = Field(name="a", dtype=Int64)


def rows(name, **more):
    given = {"table": "rows", "timestamp_field": "as_of", "created_timestamp_column": "created_at", **more}
    return PostgreSQLSource(name=name, **given)


user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
good = FeatureView(name="good", entities=[user], source=rows("good"), schema=[KEY, A])
main = FeatureService(name="main", features=[good], tags={"default": "true"})
"""
TABLE = """CREATE TABLE rows (
    user_id text, as_of date, created_at timestamp, a bigint, word text, gone text, "from" timestamptz, learned date
)"""


class Repository:
    """A small repository, of which a test defines the rest."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def applied(self, definitions: str) -> Ended:
        """How an apply ends of a good view and service, and these definitions."""
        for former in self._folder.glob("definitions_*.py"):
            former.unlink()
        # A module of its own name: Python imports each once a process.
        (self._folder / f"definitions_{next(MODULES)}.py").write_text(HEADER + definitions)
        code = apply.main([])
        return Ended(code, *self._capsys.readouterr())

    def migrate(self, name: str, statements: str) -> None:
        """Add a migration, which the next apply runs."""
        (self._folder / "migrations" / name).write_text(statements)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Repository:
    folder = tmp_path / "repository"
    (folder / "migrations").mkdir(parents=True)
    (folder / "feature_store.yaml").write_text((REPOSITORY / "feature_repo" / "feature_store.yaml").read_text())
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(folder))
    repository = Repository(folder, capsys)
    repository.migrate("0001.sql", TABLE)
    return repository


EVERYTHING = """

def hidden():
    return Entity(name="hidden", join_keys=["hidden_id"], value_type=ValueType.STRING)


number = Entity(name="number", join_keys=["user_id"], value_type=ValueType.INT64)
keyless = FeatureView(name="keyless", entities=[hidden()], source=rows("keyless"), schema=[A])
numbered = FeatureView(
    name="numbered", entities=[number], source=rows("numbered"), schema=[Field(name="user_id", dtype=Int64), A]
)
typed = FeatureView(
    name="typed", entities=[user], source=rows("typed", timestamp_field="word", tags={"tombstone_column": "gone"}),
    schema=[KEY, Field(name="word", dtype=Float64), Field(name="worth", dtype=Float64), Field(name="m", dtype=Bool)],
)
pushed = FeatureView(
    name="pushed", entities=[user], source=PushSource(name="push", batch_source=rows("pushed")), schema=[KEY, A]
)
computed = BatchFeatureView(
    name="computed", entities=[user], source=rows("computed"), schema=[KEY, A], online=True, udf=lambda rows: rows,
    mode="pandas",
)
nested = FeatureView(name="nested", entities=[user], source=rows("nested"), schema=[KEY, Field(name="x", dtype=Map)])
pinned = FeatureService(name="pinned", features=["good@v2"])
unknown = FeatureService(name="unknown", features=["nowhere"])
of_typed = FeatureService(name="of_typed", features=[typed, nested])
"""


def test_one_run_names_everything_that_is_wrong_and_changes_nothing(
    connection: psycopg.Connection,
    redis_client: BytesRedis,
    small: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = tmp_path / "termination"
    monkeypatch.setenv("FEATURE_PLATFORM_TERMINATION_LOG", str(message))
    ended = small.applied(EVERYTHING)
    misfit = "feature view typed does not fit its source typed"
    wanted = [
        "feature view pushed has the PushSource push, of which nothing is taken",
        "feature view computed has a function or aggregations, which are not applied",
        "feature service pinned takes good@v2, but the latest version is served",
        "Feast refuses the definitions of feature service unknown: ",
        "feature view keyless has entity hidden, which Feast has not collected; put it at the top of a module",
        "feature nested:x has type MAP; types that can be served are",
        "join key user_id has types that differ by feature view: STRING in computed, good, pushed, typed and INT64 in",
        "feature view numbered does not fit its source numbered: join key user_id has type INT64, but column user_id",
        f"{misfit}: feature typed:word has type DOUBLE, but column word is text",
        f'{misfit}: column "worth" does not exist; columns of nearly that name are word',
        f'{misfit}: column "m" does not exist',
        f"{misfit}: its timestamp_field word is text; it must be date or",
        f"{misfit}: its tombstone_column gone is text; it must be boolean",
    ]
    found = [line["sentence"] for line in ended.lines if line["event"] == "refused"]
    missing = [want for want in wanted if not any(sentence.startswith(want) for sentence in found)]
    assert (missing, len(found)) == ([], len(wanted)), "\n".join(found)
    assert (ended.code, ended.out.count("\n")) == (2, 1)
    assert ended.out.startswith(f"apply: failed (exit 2): {len(wanted)} findings: (1) ")
    assert message.read_text() == ended.out.strip()
    (details,) = connection.execute("SELECT details FROM ledger.runs").fetchone() or ({},)
    assert [finding["sentence"] for finding in details["findings"]] == found
    for table in ("registry.feature_views", "offline.rows"):
        assert connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,)
    assert connection.execute("SELECT count(*) FROM ledger.migrations WHERE name LIKE 'repository/%'").fetchone() == (
        0,
    )
    assert dump(redis_client) == {}


@pytest.mark.usefixtures("database", "redis_client")
def test_a_view_takes_its_schema_from_a_table_that_the_same_apply_makes(small: Repository) -> None:
    ended = small.applied("""
inferred = FeatureView(name="inferred", entities=[user], source=rows("inferred"))
""")
    assert ended.code == 0, ended.out
    views = {view.name: view for view in resolve(open_store(load_settings())).views}
    assert views["inferred"].feature_types == {
        "a": "INT64", "word": "STRING", "gone": "STRING", "from": "UNIX_TIMESTAMP", "learned": "UNIX_TIMESTAMP"
    }  # fmt: skip


@pytest.mark.parametrize("use", ["migration", "source"])
@pytest.mark.usefixtures("redis_client")
def test_a_new_value_of_an_enum_may_be_used_at_once(
    connection: psycopg.Connection, small: Repository, use: str
) -> None:
    small.migrate("0002.sql", "CREATE TYPE kind AS ENUM ('old')")
    assert small.applied("").code == 0
    small.migrate("0003.sql", "ALTER TYPE kind ADD VALUE 'new'")
    definitions = ""
    if use == "migration":
        small.migrate("0004.sql", "CREATE TABLE kinds (kind kind DEFAULT 'new')")
    else:
        query = "SELECT user_id, as_of, created_at, a FROM rows WHERE word::kind = 'new'"
        definitions = f"""
kinds = FeatureView(name="kinds", entities=[user], schema=[KEY, A], source=rows("kinds", table=None, query="{query}"))
"""
    ended = small.applied(definitions)
    assert ended.code == 0, ended.out
    assert connection.execute("SELECT 'new'::offline.kind").fetchone() == ("new",)


@pytest.mark.usefixtures("database", "redis_client")
def test_time_columns_may_be_dates_and_named_by_their_mapped_names(small: Repository) -> None:
    ended = small.applied("""
mapped = FeatureView(name="mapped", entities=[user], schema=[KEY, A], source=rows(
    "mapped", field_mapping={"from": "day", "learned": "known"}, timestamp_field="day", created_timestamp_column="known"
))
""")
    assert ended.code == 0, ended.out


@pytest.mark.usefixtures("database", "redis_client")
def test_a_join_key_that_feast_does_not_find_behind_a_mapping_is_refused_rather_than_served_without_a_key(
    small: Repository,
) -> None:
    ended = small.applied("""
person = Entity(name="person", join_keys=["person_id"])
mapped = FeatureView(name="mapped", entities=[person], schema=[A], source=rows(
    "mapped", field_mapping={"user_id": "person_id"}
))
""")
    assert ended.code == 2
    assert "feature view mapped has entities with join keys person_id, of which Feast finds none; put a" in ended.out


@pytest.mark.usefixtures("database", "redis_client")
def test_a_plain_batch_view_is_applied(small: Repository) -> None:
    ended = small.applied("""
plain = BatchFeatureView(name="plain", entities=[user], source=rows("plain"), schema=[KEY, A], online=True)
both = FeatureService(name="both", features=[plain])
""")
    assert (ended.code, "2 feature views, 2 feature services" in ended.out) == (0, True), ended.out

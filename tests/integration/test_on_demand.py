"""On-demand features are what `get_historical_features` computes for the same rows, whatever is missing of them."""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psycopg
import pytest
from feast import FeatureStore

from jobs.local.platform import LocalPlatform
from tests.conftest import REPOSITORY
from tests.gateway_support import refused
from tests.integration.test_serving_check import local_platform
from tests.offline import JANUARY
from tests.process_support import wait_for

FEATURES = """
from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp
import numpy as np

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


def view(name, **features):
    schema = [Field(name="user_id", dtype=String), *(Field(name=name, dtype=kind) for name, kind in features.items())]
    source = PostgreSQLSource(name=f"{name}_source", table=name, timestamp_field="as_of")
    return FeatureView(name=name, entities=[user], schema=schema, source=source)


left = view("left_fv", a=Float64, n=Int64, flag=Bool, word=String, small=Float32, since=UnixTimestamp)
right = view("right_fv", b=Float64, m=Int64)


@on_demand_feature_view(sources=[left, right], mode="python", schema=[
    Field(name="py_imputed", dtype=Float64), Field(name="py_known", dtype=Bool), Field(name="py_whole", dtype=Int64),
    Field(name="py_one", dtype=Float64), Field(name="py_year", dtype=Int64), Field(name="py_small", dtype=Float64),
    Field(name="py_no_number", dtype=Float64), Field(name="py_no_numbers", dtype=Array(Float64)),
    Field(name="py_text", dtype=String)])
def python_fv(inputs):
    a, n = inputs["a"], inputs["n"]
    return {
        "py_imputed": [(0.0 if x is None else x) + (0.5 if y is None else y) for x, y in zip(a, inputs["b"])],
        "py_known": [x is not None for x in a],
        "py_whole": [-1 if x is None else x for x in n],
        "py_one": [1 if x is None else x for x in a],
        "py_year": [None if x is None else x.year for x in inputs["since"]],
        "py_small": [0.25 if x is None else x for x in inputs["small"]],
        "py_no_number": [float("nan") if x is None else float("inf") if x > 0 else float("-inf") for x in a],
        "py_no_numbers": [[1.5, float("nan") if x is None else float("-inf")] for x in a],
        "py_text": ["NaN" if x is None else x for x in inputs["word"]],
    }


@on_demand_feature_view(sources=[left, right], mode="pandas", schema=[
    Field(name="pd_imputed", dtype=Float64), Field(name="pd_sum", dtype=Float64), Field(name="pd_above", dtype=Float64),
    Field(name="pd_whole", dtype=Int64), Field(name="pd_exact", dtype=Int64), Field(name="pd_flag", dtype=Bool),
    Field(name="pd_year", dtype=Float64), Field(name="pd_word", dtype=String), Field(name="pd_ratio", dtype=Float64)])
def pandas_fv(inputs):
    import pandas as pd

    found = pd.DataFrame(index=inputs.index)
    found["pd_imputed"] = (inputs["a"] + inputs["b"]).fillna(-1.5)
    found["pd_sum"] = inputs["a"].fillna(0) + inputs["small"].fillna(1)
    found["pd_above"] = np.where(inputs["a"] > 0, 1.0, 0.0)
    found["pd_whole"] = inputs["m"].fillna(7)
    found["pd_exact"] = inputs["n"]
    found["pd_flag"] = inputs["flag"].isna()
    found["pd_year"] = inputs["since"].dt.year.astype(float)
    found["pd_word"] = inputs["word"].fillna("none")
    found["pd_ratio"] = inputs["a"] / inputs["m"]
    return found


@on_demand_feature_view(sources=[left[["a", "word"]]], mode="python", singleton=True, schema=[
    Field(name="single_imputed", dtype=Float64), Field(name="single_text", dtype=String)])
def single_fv(inputs):
    return {"single_imputed": 0.5 if inputs["a"] is None else inputs["a"] * 2, "single_text": inputs["word"]}


@on_demand_feature_view(sources=[left[["n"]], right[["m"]]], mode="python", schema=[Field(name="sum", dtype=Int64)])
def needs_both_fv(inputs):
    return {"sum": [x + y for x, y in zip(inputs["n"], inputs["m"])]}


@on_demand_feature_view(sources=[right[["b"]]], mode="pandas", schema=[Field(name="strict", dtype=Float64)])
def strict_fv(inputs):
    import pandas as pd

    if len(inputs) and inputs["b"].isna().any():
        raise ValueError("no NULLs here")
    return pd.DataFrame({"strict": inputs["b"] * 2})


@on_demand_feature_view(sources=[left[["n"]]], mode="python", schema=[Field(name="inverse", dtype=Float64)])
def inverse_fv(inputs):
    return {"inverse": [-1.0 if x is None else 6 / (x - 2) for x in inputs["n"]]}


@on_demand_feature_view(sources=[right[["b"]]], mode="python", schema=[Field(name="never", dtype=Float64)])
def never_fv(inputs):
    # Feast tries a function with 1.0 at apply.
    return {"never": [x if x == 1.0 else {}["missing"] for x in inputs["b"]]}


everything = FeatureService(name="everything", features=[python_fv, pandas_fv, single_fv])
needs_both = FeatureService(name="needs_both", features=[needs_both_fv, left[["word"]]])
strict = FeatureService(name="strict", features=[strict_fv, left[["word"]]])
inverse = FeatureService(name="inverse", features=[inverse_fv, left[["word"]]])
never = FeatureService(name="never", features=[never_fv, left[["word"]]])
stored = FeatureService(name="stored", features=[left, right], tags={"default": "true"})
"""
TABLES = """
CREATE TABLE left_fv (user_id text, as_of timestamptz, a double precision, n bigint, flag boolean, word text,
                      small real, since timestamptz);
CREATE TABLE right_fv (user_id text, as_of timestamptz, b double precision, m bigint);
"""
CHOICES: dict[str, list[Any]] = {
    "a": [0.1, -3.25, 0.0, 1e300], "n": [9007199254740993, -9007199254740995, 3, 2], "flag": [True, False],
    "word": ["word", "NaN", ""], "small": [0.5, 0.1], "since": [JANUARY], "b": [2.5, -0.75], "m": [4, 9007199254740993],
}  # fmt: skip
COLUMNS = {"left_fv": ["a", "n", "flag", "word", "small", "since"], "right_fv": ["b", "m"]}
STRANGER = "stranger"
CHANCE = random.Random(11)


def drawn(columns: list[str]) -> dict[str, Any]:
    """A row of a table, each value NULL in one case of three."""
    return {column: None if CHANCE.random() < 1 / 3 else CHANCE.choice(CHOICES[column]) for column in columns}


# Rows of a user in each table; in one case of five there is none.
USERS = {
    f"u{number}": {table: drawn(columns) for table, columns in COLUMNS.items() if CHANCE.random() < 4 / 5}
    for number in range(30)
} | {
    "whole": {table: {column: CHOICES[column][0] for column in columns} for table, columns in COLUMNS.items()},
    "two": {"left_fv": {"n": 2}},
    "half": {"left_fv": dict.fromkeys(COLUMNS["left_fv"])},
}  # fmt: skip
KNOWN = [user for user, rows in USERS.items() if rows]
ALL = [*USERS, STRANGER]


def inputs_of(user: str) -> Mapping[str, Any]:
    """What is known of a user, by column."""
    return {column: value for row in USERS.get(user, {}).values() for column, value in row.items() if value is not None}


@pytest.fixture(scope="module")
def platform(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform over these definitions and rows, materialized, with gateway and feature server."""
    folder = tmp_path_factory.mktemp("on-demand")
    repository = folder / "repository"
    (repository / "migrations").mkdir(parents=True)
    (repository / "features.py").write_text(FEATURES)
    (repository / "migrations" / "0001.sql").write_text(TABLES)
    shutil.copy(REPOSITORY / "feature_repo" / "feature_store.yaml", repository)
    with local_platform(servers_folder, folder, repository, "ondemand") as started:
        feature_server = started.start_feature_server()
        with started.postgres.connect(started.environment["PGDATABASE"]) as connection:
            fill(connection)
        outcome = started.run_job("materialize")
        assert outcome.exit_code == 0, outcome.summary
        started.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        started.wait_for_feature_server(feature_server)
        # The first answers of a feature server that has just started are slow.
        first = f"{started.gateway_url}/features/whole?feature_service=everything"
        wait_for(lambda: httpx.get(first).status_code == 200, "on-demand features are served")
        yield started


def fill(connection: psycopg.Connection) -> None:
    for user, rows in USERS.items():
        for table, row in rows.items():
            names = ", ".join(['"user_id"', '"as_of"', *(f'"{name}"' for name in row)])
            marks = ", ".join(["%s"] * (len(row) + 2))
            connection.execute(
                f"INSERT INTO offline.{table} ({names}) VALUES ({marks})".encode(), (user, JANUARY, *row.values())
            )


@pytest.fixture(scope="module")
def gateway(platform: LocalPlatform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.gateway_url, timeout=60.0) as client:
        yield client


Trained = Callable[[str, list[str]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def trained(platform: LocalPlatform) -> Iterator[Trained]:
    """What `get_historical_features` computes of a service for these users together."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in (name for name in platform.environment if name.startswith(("PG", "FEATURE_PLATFORM"))):
            monkeypatch.setenv(name, platform.environment[name])
        store = FeatureStore(repo_path=platform.environment["FEATURE_PLATFORM_REPO"])

        def of(service: str, users: list[str]) -> list[dict[str, Any]]:
            rows = pd.DataFrame({"user_id": users, "event_timestamp": [pd.Timestamp(JANUARY)] * len(users)})
            job = store.get_historical_features(rows, store.get_feature_service(service))
            names = [field.name for view in store.get_feature_service(service).feature_view_projections
                     for field in view.features]  # fmt: skip
            return [{name: row[name] for name in names} for row in job.to_arrow().to_pylist()]

        yield of


@pytest.fixture(scope="module")
def expected(trained: Trained) -> dict[str, dict[str, Any]]:
    """What a training set of each user alone would hold of the service `everything`."""
    return {user: trained("everything", [user])[0] for user in ALL}


def test_a_training_set_gives_a_function_for_one_row_one_row(trained: Trained) -> None:
    whole, half = trained("everything", ["whole", "half"])
    assert (whole["single_imputed"], whole["single_text"]) == (0.2, "word")
    assert (half["single_imputed"], half["single_text"]) == (0.5, None)


def test_what_is_missing_is_imputed(expected: dict[str, dict[str, Any]]) -> None:
    imputed = {"py_imputed": 0.5, "py_known": False, "py_whole": -1, "py_one": 1, "py_year": None, "py_text": "NaN",
               "pd_imputed": -1.5, "pd_sum": 1.0, "pd_above": 0.0, "pd_whole": 7, "pd_flag": True, "pd_word": "none",
               "pd_ratio": None}  # fmt: skip
    for user in ("half", STRANGER):
        assert expected[user].items() >= imputed.items()


def plain(value: Any) -> Any:
    """As JSON has it: no NaN and no infinity."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(value: Any) -> Any:
    """As Feast's protocol has it, which has NaN in lists alone."""
    if isinstance(value, list):
        return ["NaN" if math.isnan(item) else text(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def as_feast(gateway: httpx.Client, service: str, users: list[str]) -> dict[str, dict[str, Any]]:
    """The results of Feast's protocol by feature."""
    body = {"feature_service": service, "entities": {"user_id": users}}
    answer = gateway.post("/get-online-features", json=body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return dict(zip(document["metadata"]["feature_names"], document["results"], strict=True))


def test_one_user_gets_what_a_training_set_holds(gateway: httpx.Client, expected: dict[str, dict[str, Any]]) -> None:
    for user in KNOWN:
        answer = gateway.get(f"/features/{user}", params={"feature_service": "everything", "metadata": "true"})
        assert answer.status_code == 200, answer.text
        features, metadata = answer.json()["features"], answer.json()["metadata"]
        assert features == plain(expected[user] and {name: plain(value) for name, value in expected[user].items()}), (
            user
        )
        for name, value in features.items():
            assert metadata[name]["status"] == ("NULL_VALUE" if value is None else "PRESENT"), (user, name)


def test_many_users_get_each_what_it_would_get_alone(
    gateway: httpx.Client, expected: dict[str, dict[str, Any]]
) -> None:
    body = {"feature_service": "everything", "entities": {"user_id": ALL}}
    results = gateway.post("/features", json=body).json()["results"]
    assert {row["user_id"]: row["features"] for row in results if row["found"]} == {
        user: {name: plain(value) for name, value in expected[user].items()} for user in KNOWN
    }


def test_feasts_protocol_gives_what_a_training_set_holds_to_unknown_users_too(
    gateway: httpx.Client, expected: dict[str, dict[str, Any]]
) -> None:
    results = as_feast(gateway, "everything", ALL)
    for name in expected[STRANGER]:
        assert results[name]["values"] == [text(expected[user][name]) for user in ALL], name
        nothing = ["NULL_VALUE" if value is None else "PRESENT" for value in results[name]["values"]]
        assert results[name]["statuses"] == nothing


def test_a_feast_client_of_the_feature_server_itself_gets_that_too(
    platform: LocalPlatform, expected: dict[str, dict[str, Any]]
) -> None:
    with httpx.Client(base_url=platform.feature_server_url, timeout=60.0) as server:
        for user in ("whole", "half", STRANGER):
            results = as_feast(server, "everything", [user])
            assert {name: results[name]["values"] for name in expected[user]} == {
                name: [text(value)] for name, value in expected[user].items()
            }


def test_no_function_runs_for_unknown_users_but_in_feasts_protocol(gateway: httpx.Client) -> None:
    refused(gateway.get(f"/features/{STRANGER}", params={"feature_service": "never"}), 404)
    body = {"feature_service": "everything", "entities": {"user_id": [STRANGER]}, "metadata": True}
    [row] = gateway.post("/features", json=body).json()["results"]
    assert row["found"] is False
    assert set(row["features"].values()) == {None}
    assert {cell["status"] for cell in row["metadata"].values()} == {"NOT_FOUND"}
    assert as_feast(gateway, "everything", [STRANGER])["py_known"]["values"] == [False]


def test_the_metadata_names_the_worst_of_the_inputs_statuses(gateway: httpx.Client) -> None:
    def inputs_status(user: str, feature: str) -> Any:
        params = {"feature_service": "everything", "features": f"{feature},left_fv:a", "metadata": "true"}
        metadata = gateway.get(f"/features/{user}", params=params).json()["metadata"]
        assert "inputs_status" not in metadata["a"]
        return metadata[feature]["status"], metadata[feature]["inputs_status"]

    assert inputs_status("whole", "py_imputed") == ("PRESENT", "PRESENT")
    assert inputs_status("half", "py_imputed") == ("PRESENT", "NOT_FOUND")
    assert inputs_status("half", "single_imputed") == ("PRESENT", "NULL_VALUE")
    assert inputs_status("half", "single_text") == ("NULL_VALUE", "NULL_VALUE")


def outcomes(trained: Trained, service: str, feature: str) -> dict[str, Any]:
    """What each user alone gives in training: the value, or the exception."""
    found: dict[str, Any] = {}
    for user in KNOWN:
        try:
            found[user] = trained(service, [user])[0][feature]
        except Exception as error:
            found[user] = error
    return found


@pytest.mark.parametrize(
    ("service", "feature", "inputs"),
    [
        ("needs_both", "sum", {"n", "m"}),
        ("strict", "strict", {"b"}),
        ("inverse", "inverse", {"n"}),
        ("never", "never", {"b"}),
    ],
)
def test_where_a_function_fails_a_row_that_lacks_an_input_has_no_value_and_a_whole_one_is_refused(
    gateway: httpx.Client, trained: Trained, service: str, feature: str, inputs: set[str]
) -> None:
    expected = outcomes(trained, service, feature)
    refusals = {
        user for user, value in expected.items() if isinstance(value, Exception) and inputs <= inputs_of(user).keys()
    }
    body = {"feature_service": service, "entities": {"user_id": KNOWN}, "metadata": True}
    batch = gateway.post("/features", json=body)
    assert batch.status_code == 200, batch.text
    for row in batch.json()["results"]:
        user = row["user_id"]
        alone = gateway.get(f"/features/{user}", params={"feature_service": service, "metadata": "true"})
        if not row["found"]:
            refused(alone, 404)
            continue
        if user in refusals:
            problem = refused(alone, 502, f"{service}_fv")
            assert f"user_id {user!r}" in problem["detail"]
            assert row == {"found": True, "user_id": user, "problem": problem}
            continue
        assert alone.status_code == 200, alone.text
        assert row == {"found": True, **alone.json()}
        value, metadata = row["features"][feature], row["metadata"][feature]
        if isinstance(expected[user], Exception):
            assert (value, metadata["status"]) == (None, metadata["inputs_status"])
            assert metadata["status"] in ("NULL_VALUE", "NOT_FOUND")
        else:
            assert value == plain(expected[user]), user
        assert row["features"]["word"] == inputs_of(user).get("word")


def test_feasts_protocol_refuses_whole_rows_on_which_a_function_fails_and_gives_the_others_values(
    gateway: httpx.Client, trained: Trained
) -> None:
    body = {"feature_service": "inverse", "entities": {"user_id": ["whole", "two", "half"]}}
    problem = refused(gateway.post("/get-online-features", json=body), 502, "inverse_fv")
    assert "user_id 'two'" in problem["detail"]
    users = ["whole", "half", STRANGER]
    assert as_feast(gateway, "inverse", users)["inverse"]["values"] == [
        trained("inverse", [user])[0]["inverse"] for user in users
    ]
    results = as_feast(gateway, "needs_both", ["half", STRANGER, "whole"])["sum"]
    assert results["values"] == [None, None, 9007199254740997]
    assert results["statuses"] == ["NOT_FOUND", "NOT_FOUND", "PRESENT"]


def test_values_that_are_served_are_counted_by_what_they_are(platform: LocalPlatform, gateway: httpx.Client) -> None:
    def count(status: str) -> float:
        lines = httpx.get(f"http://127.0.0.1:{platform.metrics_port}/metrics").text.splitlines()
        series = f'feature_gateway_feature_values_total{{feature_view="needs_both_fv",status="{status}"}} '
        return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))

    before = [count(status) for status in ("PRESENT", "NULL_VALUE", "NOT_FOUND")]
    body = {"feature_service": "needs_both", "entities": {"user_id": ["whole", "whole", "half"]}}
    assert gateway.post("/features", json=body).status_code == 200
    assert [count(status) for status in ("PRESENT", "NULL_VALUE", "NOT_FOUND")] == [
        before[0] + 2, before[1], before[2] + 1
    ]  # fmt: skip

"""Feast on both sides: a Feast client asks the gateway, and the gateway asks `feast serve` for on-demand features."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RegistryConfig
from feast.types import Bool, Float64, Int64, String

from jobs.local.servers import RedisServer
from jobs.process import free_port
from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, GatewayProcess, refused

MAIN = ["profile:months_active", "profile:monthly_fee", "profile:paperless", "profile:net_service", "usage:devices"]


def _definitions(folder: Path) -> list[Any]:
    """The views and services of the shared plan that are over one join key, as Feast objects."""
    pq.write_table(pa.table({"user_id": ["u"], "as_of": [pd.Timestamp(NOW)]}), folder / "empty.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)

    def view(name: str, **fields: Any) -> FeatureView:
        source = FileSource(name=f"{name}_source", path=str(folder / "empty.parquet"), timestamp_field="as_of")
        schema = [
            Field(name="user_id", dtype=String),
            *(Field(name=field, dtype=kind) for field, kind in fields.items()),
        ]
        return FeatureView(name=name, entities=[user], ttl=45 * DAY, schema=schema, source=source)

    profile = view("profile", months_active=Int64, monthly_fee=Float64, paperless=Bool, net_service=String)
    usage = view("usage", watch_hours=Float64, devices=Int64)

    def ratio(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"hours_per_device": inputs["watch_hours"] / inputs["devices"]})

    on_demand: Callable[..., Any] = on_demand_feature_view
    computed_view = on_demand(sources=[usage], schema=[Field(name="hours_per_device", dtype=Float64)])(ratio)
    main = FeatureService(name="main", features=[profile, usage])
    computed = FeatureService(name="computed", features=[profile[["months_active"]], computed_view])
    return [user, profile, usage, computed_view, main, computed]


def _config(folder: Path, online_store: dict[str, Any]) -> RepoConfig:
    return RepoConfig(
        project=support.PROJECT,
        provider="local",
        registry=RegistryConfig(path=str(folder / "registry.db"), cache_ttl_seconds=3600),
        online_store=online_store,
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )


@pytest.fixture(scope="module")
def repository_folder(redis_server: RedisServer, servers_folder: Path) -> Path:
    """A Feast repository of its own, applied."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-repository-", dir=servers_folder))
    online = {"type": "redis", "connection_string": redis_server.connection_string}
    FeatureStore(config=_config(folder, online)).apply(_definitions(folder))
    (folder / "feature_store.yaml").write_text(
        f"project: {support.PROJECT}\nprovider: local\nregistry: {folder}/registry.db\n"
        f"online_store: {{type: redis, connection_string: '{redis_server.connection_string}'}}\n"
        "entity_key_serialization_version: 3\n"
    )
    return folder


@pytest.fixture(scope="module")
def feature_server(repository_folder: Path, redis_server: RedisServer) -> Iterator[str]:
    """The address of `feast serve`, as the platform runs it."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.feature_server", "--port", str(port)]
    settings = {
        "FEATURE_PLATFORM_REPO": str(repository_folder), "FEATURE_PLATFORM_PROJECT": support.PROJECT,
        "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": redis_server.connection_string,
    }  # fmt: skip
    with (repository_folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **settings})
    try:
        support.wait_for(lambda: _answers(port), 60)
        address = f"http://127.0.0.1:{port}"
        # Its first answer takes longer than the gateway waits.
        first = {"feature_service": "computed", "entities": {"user_id": ["nobody"]}}
        httpx.post(f"{address}/get-online-features", json=first, timeout=60).raise_for_status()
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def gateway(redis_client: redis.Redis, feature_server: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    support.seed(redis_client)
    support.write(
        redis_client, "profile", support.user("u2"), support.PROFILE | {"net_service": Value(string_val="DSL")}
    )
    support.write(redis_client, "usage", support.user("u2"), {"watch_hours": Value(double_val=9), "devices": Value()})
    support.write(redis_client, "usage", support.user("old"), support.USAGE, NOW - 60 * DAY)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_FEATURE_SERVER_URL=feature_server) as started:
        started.wait_ready()
        yield started


def client_of(folder: Path, address: str) -> FeatureStore:
    return FeatureStore(config=_config(folder, {"type": "remote", "path": address}))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "asked", ["main", "computed", MAIN, ["ratio:hours_per_device"], ["usage:devices", "profile:paperless"]]
)
def test_a_feast_client_gets_the_values_that_feast_serve_gives(
    gateway: GatewayProcess, repository_folder: Path, feature_server: str, asked: str | list[str], full: bool
) -> None:
    rows = [{"user_id": "u1"}, {"user_id": "nobody"}, {"user_id": "u1"}]
    answers = []
    for address in (gateway.url, feature_server):
        store = client_of(repository_folder, address)
        features = store.get_feature_service(asked) if isinstance(asked, str) else asked
        answers.append(
            store.get_online_features(features=features, entity_rows=rows, full_feature_names=full).to_dict()
        )
    ours, feasts = answers
    assert ours == feasts
    assert next(iter(ours)) == "user_id"


def test_names_are_ordered_join_keys_first_and_views_as_feast_serve_does(
    gateway: GatewayProcess, feature_server: str
) -> None:
    body = {"entities": {"user_id": ["u1"], "unused": [1]}, "features": MAIN}
    ours, feasts = (httpx.post(f"{url}/get-online-features", json=body).json() for url in (gateway.url, feature_server))
    assert ours["metadata"]["feature_names"] == ["user_id", *(reference.split(":")[1] for reference in MAIN)]
    assert sorted(feasts["metadata"]["feature_names"]) == sorted(ours["metadata"]["feature_names"])
    assert feasts["metadata"]["feature_names"][0] == "user_id"
    assert ours["results"][0] == feasts["results"][0]
    by_name = dict(zip(feasts["metadata"]["feature_names"], feasts["results"], strict=True))
    for name, column in zip(ours["metadata"]["feature_names"], ours["results"], strict=True):
        assert column["values"] == by_name[name]["values"]
        assert column["event_timestamps"] == by_name[name]["event_timestamps"]


def test_statuses_and_times_are_right_where_feasts_are_not(gateway: GatewayProcess, repository_folder: Path) -> None:
    store = client_of(repository_folder, gateway.url)
    rows = [{"user_id": user} for user in ("u1", "u2", "old", "nobody")]
    answer = store.get_online_features(features=["usage:devices"], entity_rows=rows).proto
    assert list(answer.metadata.feature_names.val) == ["user_id", "devices"]
    assert [FieldStatus.Name(status) for status in answer.results[1].statuses] == [
        "PRESENT",
        "NULL_VALUE",
        "OUTSIDE_MAX_AGE",
        "NOT_FOUND",
    ]
    raw = gateway.http.post(
        "/get-online-features", json={"entities": {"user_id": ["old", "nobody"]}, "features": ["usage:devices"]}
    ).json()
    old = (NOW - 60 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert raw["results"][1] == {
        "values": [None, None],
        "statuses": ["OUTSIDE_MAX_AGE", "NOT_FOUND"],
        "event_timestamps": [old, "1970-01-01T00:00:00Z"],
    }


def test_a_refusal_reaches_a_feast_client_as_an_error_with_the_reason(
    gateway: GatewayProcess, repository_folder: Path
) -> None:
    store = client_of(repository_folder, gateway.url)
    with pytest.raises(RuntimeError, match="'usage:none' is unknown"):
        store.get_online_features(features=["usage:none"], entity_rows=[{"user_id": "u1"}])


def test_view_metadata_is_added_when_asked_for(gateway: GatewayProcess) -> None:
    body = {"entities": {"user_id": ["u1"]}, "features": MAIN, "include_feature_view_version_metadata": True}
    answer = gateway.http.post("/get-online-features", json=body).json()
    assert answer["metadata"]["feature_view_metadata"] == [{"name": "profile"}, {"name": "usage"}]


@pytest.mark.parametrize("users", [["u9"], ["u9", "u9"]], ids=["one", "many"])
def test_a_null_and_a_value_that_was_never_written_have_statuses_of_their_own(
    gateway: GatewayProcess, redis_client: redis.Redis, users: list[str]
) -> None:
    written = {"months_active": Value(int64_val=3), "monthly_fee": Value()}
    support.write(redis_client, "profile", support.user("u9"), written)
    features = ["profile:months_active", "profile:monthly_fee", "profile:paperless"]
    body = {"features": features, "entities": {"user_id": users}}
    _, *results = gateway.http.post("/get-online-features", json=body).json()["results"]
    assert [(result["values"], result["statuses"]) for result in results] == [
        ([value] * len(users), [status] * len(users))
        for value, status in [(3, "PRESENT"), (None, "NULL_VALUE"), (None, "NOT_FOUND")]
    ]


def test_numbers_are_taken_for_text_keys_as_feast_does(gateway: GatewayProcess, redis_client: redis.Redis) -> None:
    support.write(redis_client, "usage", support.user("7"), support.USAGE)
    body = {"entities": {"user_id": [7]}, "features": ["usage:devices"]}
    assert gateway.http.post("/get-online-features", json=body).json()["results"][1]["values"] == [2]


def test_on_demand_features_are_computed_by_the_feature_server(gateway: GatewayProcess) -> None:
    answer = gateway.http.get("/features/u1?feature_service=computed&metadata=true").json()
    assert answer["features"] == {"months_active": 1, "hours_per_device": 12.25}
    assert answer["metadata"]["hours_per_device"]["status"] == "PRESENT"
    assert answer["metadata"]["hours_per_device"]["event_timestamp"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_on_demand_features_have_the_status_of_their_result_beside_the_worst_of_their_inputs(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    support.write(redis_client, "profile", support.user("u3"), support.PROFILE)
    support.write(redis_client, "usage", support.user("half"), {"watch_hours": Value(double_val=9)})
    body = {
        "entities": {"user_id": ["u1", "u2", "old", "u3", "nobody", "half"]},
        "features": ["ratio:hours_per_device"],
        "metadata": True,
    }
    rows = gateway.http.post("/features", json=body).json()["results"]
    assert [row["features"]["hours_per_device"] for row in rows] == [12.25, None, None, None, None, None]
    assert [row["metadata"]["hours_per_device"]["status"] for row in rows] == [
        "PRESENT",
        "NULL_VALUE",
        "OUTSIDE_MAX_AGE",
        "NOT_FOUND",
        "NOT_FOUND",
        "NULL_VALUE",
    ]
    assert rows[-1]["metadata"]["hours_per_device"]["inputs_status"] == "NOT_FOUND"


def test_max_age_refuses_an_on_demand_feature_by_its_oldest_input(gateway: GatewayProcess) -> None:
    asked = "/features/old?features=ratio:hours_per_device&metadata=true&max_age="
    refused(gateway.http.get(f"{asked}59d"), 412, "ratio:hours_per_device")
    answer = gateway.http.get(f"{asked}61d").json()
    assert answer["features"] == {"hours_per_device": None}
    assert answer["metadata"]["hours_per_device"]["status"] == "OUTSIDE_MAX_AGE"


def test_a_feature_server_that_does_not_know_a_feature_yet_is_unavailable_and_no_function_has_failed(
    redis_client: redis.Redis, feature_server: str
) -> None:
    support.seed(redis_client)
    document = support.plan()
    document["on_demand_feature_views"]["ratio"]["features"]["newer"] = {"type": "DOUBLE"}
    support.publish(redis_client, document)
    support.write(redis_client, "usage", support.user("half"), {"watch_hours": Value(double_val=9), "devices": Value()})
    with support.in_process(feature_server_url=feature_server) as http:
        for user in ("u1", "half"):
            refused(http.get(f"/features/{user}?features=ratio:newer"), 503, "feature server")


def test_a_silent_feature_server_costs_only_those_who_ask_for_on_demand_features(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with support.in_process(feature_server_url=address) as http:
            problem = refused(http.get("/features/u1?feature_service=computed"), 503, "feature server")
            assert problem["title"] == "Feature server unavailable"
            assert http.get("/features/u1").status_code == 200
            refused(http.get("/features/nobody?feature_service=computed"), 404)


class HangsUp(BaseHTTPRequestHandler):
    """Answers the first request of a connection, and hangs up on the second."""

    protocol_version = "HTTP/1.1"
    answer = json.dumps(
        {"metadata": {"feature_names": ["hours_per_device"]}, "results": [{"values": [12.25], "statuses": ["PRESENT"]}]}
    ).encode()
    used = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.used:
            self.close_connection = True
            return
        self.used = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def test_a_feature_server_that_hangs_up_on_a_kept_connection_is_asked_again(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    with ThreadingHTTPServer(("127.0.0.1", 0), HangsUp) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with support.in_process(feature_server_url=f"http://127.0.0.1:{server.server_port}") as http:
                answers = [http.get("/features/u1?features=ratio:hours_per_device").json() for _ in range(4)]
        finally:
            server.shutdown()
    assert [answer.get("features") for answer in answers] == [{"hours_per_device": 12.25}] * 4


def test_an_absent_feature_server_is_a_503(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    with support.in_process(feature_server_url=f"http://127.0.0.1:{free_port()}") as http:
        refused(http.get("/features/u1?feature_service=computed"), 503, "feature server")

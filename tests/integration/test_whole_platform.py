"""The shipped repository on real servers, from exports to answers: what one part writes, every other reads alike."""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.sample import exports, generate, write_export
from jobs.instants import isoformat
from jobs.local.platform import LocalPlatform
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.offline import FEBRUARY, JANUARY, TABLES
from tests.process_support import wait_for

GOLDEN = "7590-VHVEG"
STRANGER = "0000-NOBODY"
FEATURES = {name for features in TABLES.values() for name in features}
COMPUTED = ("fee_per_watch_hour", "watch_hours_per_device")
EXPORTS_OF_VIEWS = ("subscriptions", "usage_agg_30d", "payments_agg_90d", "support_agg_90d")


@pytest.fixture(scope="module")
def live(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform with two months ingested and January materialized, gateway and feature server running."""
    folder = tmp_path_factory.mktemp("live")
    servers = Path(tempfile.mkdtemp(prefix="live-", dir=servers_folder))
    servers.chmod(0o755)
    platform = LocalPlatform(servers, folder / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        for export in generate(months=2):
            write_export(export, folder / "exports")
        succeed(platform, "apply")
        feature_server = platform.start_feature_server()
        for found in exports(folder / "exports"):
            when = ["--as-of", isoformat(found.as_of), "--delivered-at", isoformat(found.delivered_at)]
            succeed(platform, "ingest", *when, str(found.path))
        succeed(platform, "materialize", "--as-of", "2024-01-31")
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        platform.wait_for_feature_server(feature_server)
        # The first answers of a feature server that has just started are slow.
        on_demand = f"{platform.gateway_url}/features/{GOLDEN}?feature_service=churn_v2"
        wait_for(lambda: httpx.get(on_demand).status_code == 200, "on-demand features are served")
        yield platform
    finally:
        platform.stop()


def succeed(platform: LocalPlatform, module: str, *flags: str) -> str:
    outcome = platform.run_job(module, *flags)
    assert outcome.exit_code == 0, f"{outcome.summary}\n{(platform.logs / f'{module}.log').read_text()[-3000:]}"
    return outcome.summary


@pytest.fixture
def gateway(live: LocalPlatform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.gateway_url, timeout=30.0) as client:
        yield client


@pytest.fixture
def online(live: LocalPlatform) -> Iterator[BytesRedis]:
    client = redis.Redis(host=live.redis.host, port=live.redis.port, password=live.redis.password)
    yield cast(BytesRedis, client)
    client.close()


@pytest.fixture
def store(live: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Feast's SDK on the same stores."""
    for name in (name for name in live.environment if name.startswith(("PG", "FEATURE_PLATFORM"))):
        monkeypatch.setenv(name, live.environment[name])
    return FeatureStore(repo_path=str(REPOSITORY / "feature_repo"))


def remote(store: FeatureStore, url: str) -> FeatureStore:
    """Feast's SDK with a remote online store at `url`, the registry being the same."""
    config = store.config.model_copy(deep=True)
    config.online_config = {"type": "remote", "path": url}
    config._online_store = None
    return FeatureStore(config=config)


def exported(live: LocalPlatform, month: str) -> dict[str, dict[str, Any]]:
    """Per customer what the month's exports say of the 14 features, as JSON has it."""
    customers: dict[str, dict[str, Any]] = {}
    for name in EXPORTS_OF_VIEWS:
        with (live.logs.parent / "exports" / month / f"{name}.csv").open() as rows:
            for row in csv.DictReader(rows):
                known = {column: typed(row[column]) for column in row.keys() & FEATURES}
                customers.setdefault(row["user_id"], {}).update(known)
    return customers


def typed(text: str) -> object:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return float(text)
    except ValueError:
        return text


def in_batches(users: list[str], size: int = 1000) -> Iterator[list[str]]:
    for start in range(0, len(users), size):
        yield users[start : start + size]


def hashes(client: BytesRedis) -> dict[bytes, dict[bytes, bytes]]:
    """All entity hashes."""
    keys = [key for key in client.scan_iter(count=1000) if not key.startswith(b"feature-platform:")]
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    return dict(zip(keys, pipeline.execute(), strict=True))


def test_the_golden_row_is_served_as_exported(gateway: httpx.Client) -> None:
    answer = gateway.get(f"/features/{GOLDEN}")
    assert answer.status_code == 200
    features = answer.json()["features"]
    assert len(features) == 14
    golden = {"months_active": 1, "monthly_fee": 29.85, "paperless_billing": True, "net_service": "DSL"}
    assert {name: features[name] for name in golden} == golden
    assert '"monthly_fee":29.85,' in answer.text


def test_an_unknown_user_is_404(gateway: httpx.Client) -> None:
    answer = gateway.get(f"/features/{STRANGER}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_customer_is_served_as_exported_nulls_too(live: LocalPlatform, gateway: httpx.Client) -> None:
    expected = exported(live, "2024-01-31")
    assert len(expected) == 7043
    assert sum(features["plan_stream_tv"] is None for features in expected.values()) == 1526
    for users in in_batches(sorted(expected)):
        rows = gateway.post("/features", json={"entities": {"user_id": users}, "feature_service": "churn_v1"}).json()
        assert [row["features"] for row in rows["results"]] == [expected[user] for user in users]


def test_a_customer_without_internet_has_null_plans_and_the_status_says_so(
    live: LocalPlatform, gateway: httpx.Client
) -> None:
    offline = exported(live, "2024-01-31")
    user = next(user for user, features in offline.items() if features["net_service"] == "No")
    answer = gateway.get(
        f"/features/{user}", params={"metadata": "true", "features": "plan_stream_tv,net_service"}
    ).json()
    assert answer["features"] == {"plan_stream_tv": None, "net_service": "No"}
    assert answer["metadata"]["plan_stream_tv"]["status"] == "NULL_VALUE"
    assert answer["metadata"]["net_service"]["status"] == "PRESENT"


def test_feasts_sdk_reads_what_we_write_values_and_times(live: LocalPlatform, store: FeatureStore) -> None:
    expected = exported(live, "2024-01-31")
    users = sorted(expected)[:300]
    service = store.get_feature_service("churn_v1")
    response = store.get_online_features(service, [{"user_id": user} for user in users])
    values = response.to_dict()
    for position, user in enumerate(users):
        assert {name: values[name][position] for name in expected[user]} == expected[user]
    january = Timestamp()
    january.FromDatetime(JANUARY)
    assert all(time == january for vector in response.proto.results[1:] for time in vector.event_timestamps)


@pytest.mark.parametrize(
    "request_of",
    [
        {"feature_service": "churn_v1"},
        {"features": ["subs_profile_fv:monthly_fee", "usage_agg_30d_fv:skips_7d"]},
        {"features": ["subs_profile_fv:monthly_fee", "usage_agg_30d_fv:skips_7d"], "full_feature_names": True},
        {"feature_service": "churn_v1", "full_feature_names": True},
        {"feature_service": "churn_v2"},
    ],
    ids=["service", "list", "list with full names", "service with full names", "service with an on-demand view"],
)
def test_a_remote_feast_client_gets_from_the_gateway_what_it_gets_from_feast_serve(
    live: LocalPlatform, store: FeatureStore, request_of: dict[str, Any]
) -> None:
    users = [*sorted(exported(live, "2024-01-31"))[:50], STRANGER]
    answers, responses = [], []
    for url in (live.gateway_url, live.feature_server_url):
        features = request_of.get("features") or store.get_feature_service(request_of["feature_service"])
        response = remote(store, url).get_online_features(
            features,
            [{"user_id": user} for user in users],
            full_feature_names=request_of.get("full_feature_names", False),
        )
        answers.append(response.to_dict())
        responses.append(response.proto)
    ours, feasts = answers
    assert ours == feasts
    # Where Feast's are wrong, ours are right: a stranger is NOT_FOUND, what is computed for one is NULL, not PRESENT.
    for name, vector in list(zip(responses[0].metadata.feature_names.val, responses[0].results, strict=True))[1:]:
        expected = FieldStatus.NULL_VALUE if name.endswith(COMPUTED) else FieldStatus.NOT_FOUND
        assert vector.statuses[-1] == expected, name


def test_what_feast_materialize_writes_is_byte_for_byte_what_we_write_and_the_gateway_reads_it(
    live: LocalPlatform, gateway: httpx.Client, online: BytesRedis
) -> None:
    succeed(live, "materialize", "--as-of", "2024-02-29")
    ours = hashes(online)
    assert len(ours) > 7043
    online.delete(*ours)
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(REPOSITORY / "feature_repo"), "materialize"]
    # Feast reads these as UTC; its window is what ours is: the ttl of 45 days up to and with T.
    ended = subprocess.run(
        [*command, "2024-01-15T00:00:00", "2024-02-29T00:00:00"],
        env={**live.environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert hashes(online) == ours
    expected = exported(live, "2024-02-29")
    users = sorted(expected)[:1000]
    rows = gateway.post("/features", json={"entities": {"user_id": users}}).json()["results"]
    assert [row["features"] for row in rows] == [expected[user] for user in users]


def test_on_demand_features_are_null_unless_all_their_inputs_are_known(
    live: LocalPlatform, gateway: httpx.Client
) -> None:
    succeed(live, "materialize", "--as-of", "2024-01-31", "--rollback")
    expected = exported(live, "2024-01-31")[GOLDEN]
    asked = {"feature_service": "churn_v2", "features": "fee_per_watch_hour,watch_hours_per_device"}
    response = gateway.get(f"/features/{GOLDEN}", params=asked)
    assert response.status_code == 200, response.text
    answer = response.json()["features"]
    assert answer == {
        "fee_per_watch_hour": pytest.approx(expected["monthly_fee"] / expected["watch_hours_30d"]),
        "watch_hours_per_device": pytest.approx(expected["watch_hours_30d"] / expected["unique_devices_30d"]),
    }
    assert gateway.get(f"/features/{STRANGER}", params=asked).status_code == 404


def test_max_age_refuses_what_is_older(gateway: httpx.Client, live: LocalPlatform) -> None:
    succeed(live, "materialize", "--as-of", "2024-02-29")
    # Ages are counted from the watermark here; asking for the status makes the gateway look for it now.
    assert gateway.get("/status").status_code == 200
    left = sorted(set(exported(live, "2024-01-31")) - set(exported(live, "2024-02-29")))[0]
    assert gateway.get(f"/features/{left}", params={"max_age": "29d"}).status_code == 200, (
        "29 days before the watermark"
    )
    assert gateway.get(f"/features/{left}", params={"max_age": "28d"}).status_code == 412


def test_the_status_tells_the_watermark_of_each_view(gateway: httpx.Client, live: LocalPlatform) -> None:
    succeed(live, "materialize", "--as-of", "2024-02-29")
    views = gateway.get("/status").json()["feature_views"]
    assert {view["watermark"] for view in views.values()} == {isoformat(FEBRUARY)}

"""One address reaches the same Redis for all who read it: the gateway, the jobs, and Feast's clients of both kinds."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import RepoConfig
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.repo_config import load_repo_config

from api import settings as gateway_settings
from api.gateway import Gateway
from jobs.feast_store import open_store
from jobs.online import store as online_store
from jobs.process import LOOPBACK
from jobs.settings import PREFIX, load_settings
from tests.conftest import REPOSITORY
from tests.fronts import HOST, TlsFronts
from tests.offline import FEBRUARY, JANUARY, OfflineStore
from tests.process_support import wait_for
from tests.redis_kinds import RedisChild, StartRedis, form_cluster

KEY, FIELDS = "who answers", {b"it is": b"the one"}
CONNECTION, TYPE, MASTER = (f"{PREFIX}REDIS_{name}" for name in ("CONNECTION_STRING", "TYPE", "SENTINEL_MASTER"))
PASSWORD = f"{PREFIX}REDIS_PASSWORD"
NUMBERLIKE = ["123", "007", "1e5", "-0.0", "true", "null", "NaN", "[1]", '{"a":1}', "0x1f", "1_000"]


def gateway() -> Any:
    async def read() -> Any:
        store = Gateway(gateway_settings.load()).store
        try:
            return await store.hash(KEY)
        finally:
            await store.close()

    return asyncio.run(read())


def jobs() -> Any:
    return online_store.connect(load_settings()).hgetall(KEY)


def feast() -> Any:
    online = _feast().online_store
    return get_online_store_from_config(online)._get_client(online).hgetall(KEY)  # type: ignore[attr-defined]


def feast_asynchronously() -> Any:
    async def read() -> Any:
        online = _feast().online_store
        async with await get_online_store_from_config(online)._get_client_async(online) as client:  # type: ignore[attr-defined]
            return await client.hgetall(KEY)

    return asyncio.run(read())


def _feast() -> RepoConfig:
    """What Feast's own commands read, without help of our jobs."""
    repository = REPOSITORY / "feature_repo"
    return load_repo_config(repository, repository / "feature_store.yaml")


@pytest.fixture(params=[gateway, jobs, feast, feast_asynchronously], ids=lambda reader: reader.__name__)
def reader(request: pytest.FixtureRequest) -> Callable[[], Any]:
    read: Callable[[], Any] = request.param
    return read


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(address: str, kind: str = "redis", **more: str) -> None:
        for name, value in {CONNECTION: address, TYPE: kind, MASTER: "ours", **more}.items():
            monkeypatch.setenv(name, value)

    return put


# --- IPv6

SIX = "::1"


def test_an_ipv6_address_in_brackets_is_reached(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis
) -> None:
    server = redis_children("--bind", LOOPBACK, SIX)
    third = server.client.__class__(host=LOOPBACK, port=server.port, db=3)
    third.hset(KEY, mapping=FIELDS)
    settings(f"[{SIX}]:{server.port},db=3,client_name=six")
    assert reader() == FIELDS


def test_sentinels_and_their_master_may_have_ipv6_addresses(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis
) -> None:
    master = redis_children("--bind", LOOPBACK, SIX)
    master.client.hset(KEY, mapping=FIELDS)
    sentinel = _sentinel(redis_children, SIX, master.port, "--bind", LOOPBACK, SIX)
    settings(f"[{SIX}]:1,[{SIX}]:{sentinel.port}", "redis_sentinel")
    assert reader() == FIELDS


def test_the_nodes_of_a_cluster_may_have_ipv6_addresses(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis
) -> None:
    (node,) = form_cluster(redis_children, 1, "--bind", LOOPBACK, SIX, "--cluster-announce-ip", SIX)
    node.client.hset(KEY, mapping=FIELDS)
    settings(f"[{SIX}]:1,[{SIX}]:{node.port}", "redis_cluster")
    assert reader() == FIELDS


# --- passwords that look like something else


@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
def test_a_password_in_the_string_stays_the_text_that_was_given(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis, kind: str
) -> None:
    address = _guarded(redis_children, kind, {text: text for text in NUMBERLIKE})
    for text in NUMBERLIKE:
        settings(f"{address},username={text},password={text},client_name={text}", kind)
        assert reader() == FIELDS, text


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_password_beside_the_string_stays_the_text_that_was_given(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis, tmp_path: Path, place: str
) -> None:
    logins = {str(number): text for number, text in enumerate([*NUMBERLIKE, '"quoted"', "a: b #c, d", "${HOME}"])}
    address = _guarded(redis_children, "redis", logins)
    for user, password in logins.items():
        if place == "variable":
            settings(address, **{f"{PREFIX}REDIS_USERNAME": user, PASSWORD: password})
        else:
            (tmp_path / "feature_platform_redis_username").write_text(f"{user}\n")
            (tmp_path / "feature_platform_redis_password").write_text(f"{password}\n")
            settings(address, **{f"{PREFIX}SECRETS_DIR": str(tmp_path)})
        assert reader() == FIELDS, password


def _guarded(start: StartRedis, kind: str, logins: dict[str, str]) -> str:
    """The address of a Redis that serves nobody but these users, each with its password."""
    server = start() if kind == "redis" else form_cluster(start, 1)[0]
    server.client.hset(KEY, mapping=FIELDS)
    for user, password in logins.items():
        server.client.execute_command("ACL", "SETUSER", user, "on", f">{password}", "~*", "+@all")
    server.client.execute_command("ACL", "SETUSER", "default", "off")
    return server.address


# --- Sentinels that ask for something


def test_sentinels_that_ask_for_the_servers_password_get_it(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis
) -> None:
    master = redis_children(password="1e5")
    master.client.hset(KEY, mapping=FIELDS)
    sentinels = [_sentinel(redis_children, LOOPBACK, master.port, password="1e5") for _ in range(2)]
    sentinels[0].stop()
    settings(",".join(sentinel.address for sentinel in sentinels), "redis_sentinel", **{PASSWORD: "1e5"})
    assert reader() == FIELDS


def test_sentinels_without_a_password_are_asked_without_one(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis
) -> None:
    master = redis_children(password="1e5")
    master.client.hset(KEY, mapping=FIELDS)
    sentinels = [_sentinel(redis_children, LOOPBACK, master.port) for _ in range(2)]
    sentinels[0].stop()
    settings(",".join(sentinel.address for sentinel in sentinels), "redis_sentinel", **{PASSWORD: "1e5"})
    assert reader() == FIELDS


@pytest.mark.parametrize("user", ["", "007"])
def test_sentinels_with_a_password_of_their_own_get_that(
    reader: Callable[[], Any], settings: Callable[..., None], redis_children: StartRedis, user: str
) -> None:
    master = redis_children()
    master.client.hset(KEY, mapping=FIELDS)
    sentinel = _sentinel(redis_children, LOOPBACK, master.port, password="" if user else "1e5")
    if user:
        sentinel.client.execute_command("ACL", "SETUSER", user, "on", ">1e5", "+@all")
        sentinel.client.execute_command("ACL", "SETUSER", "default", "off")
    master.client.execute_command("ACL", "SETUSER", "other", "on", ">true", "~*", "+@all")
    own = f"sentinel_username={user}," if user else ""
    settings(f"{sentinel.address},username=other,password=true,{own}sentinel_password=1e5", "redis_sentinel")
    assert reader() == FIELDS


@pytest.mark.parametrize("encrypted", [True, False])
def test_sentinels_are_asked_over_tls_as_their_servers_are_unless_the_string_says_otherwise(
    reader: Callable[[], Any],
    settings: Callable[..., None],
    redis_children: StartRedis,
    tmp_path: Path,
    encrypted: bool,
) -> None:
    fronts = TlsFronts(tmp_path / "tls")
    master = redis_children(password="007")
    master.client.hset(KEY, mapping=FIELDS)
    with fronts.before(master.port) as port:
        sentinel = _sentinel(redis_children, HOST, port, password="007")
        with fronts.before(sentinel.port) as front:
            asked, own = (front, "") if encrypted else (sentinel.port, ",sentinel_ssl=false")
            address = f"{HOST}:{asked},ssl=true,ssl_ca_certs={fronts.authority}{own}"
            settings(address, "redis_sentinel", **{PASSWORD: "007"})
            assert reader() == FIELDS


def test_feasts_own_command_and_client_find_the_redis_that_the_settings_name(
    platform: OfflineStore, settings: Callable[..., None], redis_children: StartRedis
) -> None:
    platform.many(["one", "two"], JANUARY)
    master = redis_children("--bind", LOOPBACK, SIX, password="1e5")
    sentinel = _sentinel(redis_children, SIX, master.port, "--bind", LOOPBACK, SIX, password="1e5")
    settings(f"[{SIX}]:{sentinel.port}", "redis_sentinel", **{PASSWORD: "1e5"})
    window = [instant.strftime("%Y-%m-%dT%H:%M:%S") for instant in (JANUARY - timedelta(days=1), FEBRUARY)]
    command = [
        sys.executable,
        "-c",
        "from feast.cli.cli import cli; cli()",
        "--chdir",
        str(REPOSITORY / "feature_repo"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([*command, "materialize", *window], env=environment, cwd=REPOSITORY, check=True)
    assert master.client.dbsize() == 2
    store = open_store(load_settings())
    service = store.get_feature_service("churn_v1")
    found = asyncio.run(store.get_online_features_async(service, [{"user_id": "one"}])).to_dict()
    assert found["months_active"] == [1]


def _sentinel(start: StartRedis, host: str, port: int, *arguments: str, password: str = "") -> RedisChild:
    """A Sentinel that knows the master as `ours`; it has no login there, and takes its word for it for ten minutes."""
    names = "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
    watch = f"sentinel monitor ours {host} {port} 1\nsentinel down-after-milliseconds ours 600000\n"
    sentinel = start("--sentinel", *arguments, configuration=names + watch, password=password)
    wait_for(lambda: sentinel.client.sentinel_masters(), "Sentinel watches the master")
    return sentinel

"""User name and password of Redis as settings of their own reach all who read it, in each kind of Redis."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from api import settings as gateway_settings
from api.gateway import Gateway
from jobs.feast_store import export_to_feast
from jobs.online import store as online_store
from jobs.process import LOOPBACK
from jobs.settings import PREFIX, load_settings
from tests.process_support import wait_for
from tests.redis_kinds import RedisChild, StartRedis, form_cluster

USER = "reader"
PASSWORD = '0,1 "2" \\ #3: é'


def _alone(start: StartRedis) -> tuple[RedisChild, str]:
    server = start()
    return server, server.address


def _behind_sentinel(start: StartRedis) -> tuple[RedisChild, str]:
    master = start()
    configuration = f"sentinel monitor mymaster {LOOPBACK} {master.port} 1\n"
    sentinel = start("--sentinel", configuration=configuration)
    wait_for(lambda: sentinel.client.sentinel_masters(), "Sentinel watches the master")
    return master, sentinel.address


def _cluster(start: StartRedis) -> tuple[RedisChild, str]:
    (node,) = form_cluster(start, 1)
    return node, node.address


KINDS: dict[str, Callable[[StartRedis], tuple[RedisChild, str]]] = {
    "redis": _alone, "redis_sentinel": _behind_sentinel, "redis_cluster": _cluster,
}  # fmt: skip


@pytest.fixture(params=KINDS)
def guarded(
    request: pytest.FixtureRequest, redis_children: StartRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RedisChild:
    """A Redis that serves nobody but USER, whom files of the secrets folder name."""
    server, address = KINDS[request.param](redis_children)
    server.client.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "+@all")
    server.client.execute_command("ACL", "SETUSER", "default", "off")
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", address)
    monkeypatch.setenv(f"{PREFIX}REDIS_TYPE", request.param)
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_username").write_text(f"{USER}\n")
    (tmp_path / "feature_platform_redis_password").write_text(f"{PASSWORD}\n")
    return server


@pytest.mark.usefixtures("guarded")
def test_the_jobs_are_let_in() -> None:
    assert online_store.connect(load_settings()).ping()


@pytest.mark.usefixtures("guarded")
def test_the_gateway_is_let_in() -> None:
    async def read() -> dict[bytes, bytes]:
        store = Gateway(gateway_settings.load()).store
        try:
            return await store.hash("nothing")
        finally:
            await store.close()

    assert asyncio.run(read()) == {}


@pytest.mark.usefixtures("guarded")
def test_feast_is_let_in(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.repo_config import load_repo_config

    settings = load_settings()
    monkeypatch.delenv(f"{PREFIX}SECRETS_DIR")
    export_to_feast(settings)
    config = load_repo_config(repository, repository / "feature_store.yaml")
    assert RedisOnlineStore()._get_client(config.online_store).ping()

"""Redis as the jobs and Feast's clients see it: where it is, and how fields leave it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster

from jobs import redis_address
from jobs.redis_address import RedisAddress
from jobs.settings import RedisSettings

Client = redis.Redis
# A job may wait for a Redis that is busy, but not for ever.
DEFAULT_TIMEOUTS: dict[str, Any] = {"socket_timeout": 30.0, "socket_connect_timeout": 10.0}
_LOGIN = ("username", "password")
# What no Sentinel has, or what is its own.
_NOT_SENTINELS = {*_LOGIN, "db", "client_name", "max_connections", "retry"}


class _Library(NamedTuple):
    """What redis-py has twice, blocking and not."""

    redis: Any
    cluster: Any
    node: Any
    sentinel: Any
    retry: Any


_BLOCKING = _Library(
    redis.Redis, redis.RedisCluster, redis.cluster.ClusterNode, redis.sentinel.Sentinel, redis.retry.Retry
)
_ASYNCHRONOUS = _Library(
    redis.asyncio.Redis, redis.asyncio.RedisCluster, redis.asyncio.cluster.ClusterNode, redis.asyncio.Sentinel,
    redis.asyncio.retry.Retry,
)  # fmt: skip


def connect(settings: RedisSettings, **parameters: Any) -> Client:
    """A client for the settings' Redis, Sentinel or Cluster; it connects when it is first used, a Cluster's at once.

    `parameters` are redis-py's own; what the settings' connection string says stands before them.
    Raises UsageError for a connection string that cannot be understood.
    """
    return cast(Client, _client(_BLOCKING, settings, parameters))


def connect_asynchronous(settings: RedisSettings) -> redis.asyncio.Redis:
    """The same for asyncio."""
    return cast(redis.asyncio.Redis, _client(_ASYNCHRONOUS, settings, {}))


def _client(library: _Library, settings: RedisSettings, parameters: Mapping[str, Any]) -> Any:
    address = redis_address.parse(settings.redis_address)
    options = {**DEFAULT_TIMEOUTS, **parameters, **address.options}
    if settings.redis_type == "redis_cluster":
        return library.cluster(startup_nodes=[library.node(host, port) for host, port in address.nodes], **options)
    if settings.redis_type == "redis_sentinel":
        sentinel = library.sentinel([], **options)
        sentinel.sentinels = [
            library.redis(host=host, port=port, **login, retry=library.retry(NoBackoff(), 0))
            for login in sentinel_options(address, options)
            for host, port in address.nodes
        ]
        return sentinel.master_for(settings.redis_sentinel_master)
    (host, port), *_ = address.nodes
    return library.redis(host=host, port=port, **options)


def sentinel_options(address: RedisAddress, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What Sentinels are asked with, one try after the other, where their servers' clients have these `options`.

    That is the servers' TLS and credentials, unless the address gives the Sentinels' own. Sentinels without a password
    refuse credentials that were not meant for them, so they are asked without as well.
    """
    common = {name: value for name, value in options.items() if name not in _NOT_SENTINELS}
    common["ssl"] = address.sentinel.get("ssl", options.get("ssl", False))
    if "password" in address.sentinel:
        logins = [_login(address.sentinel)]
    else:
        logins = [_login(options), {}] if _login(options) else [{}]
    return [common | login for login in logins]


def _login(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _LOGIN if options.get(name)}


def masters(client: Client) -> dict[str, Client]:
    """Each Redis that holds a part of the keys: the one, named "", or every master of a cluster by host and port."""
    if not isinstance(client, RedisCluster):
        return {"": client}
    return {node.name: client.get_redis_connection(node) for node in client.get_primaries()}


def remove_fields(client: Client, keys: Iterable[bytes], fields: Sequence[bytes]) -> int:
    """Remove `fields` of each hash, and return how many hashes had one; a hash without fields is gone."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("HDEL", key, *fields)
    return sum(map(bool, pipeline.execute()))

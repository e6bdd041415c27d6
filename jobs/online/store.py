"""Redis as the jobs see it: where it is, and how fields leave it."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from jobs import redis_address
from jobs.errors import UsageError
from jobs.settings import PREFIX, RedisSettings

Client = redis.Redis
# A job may wait for a Redis that is busy, but not for ever.
DEFAULT_TIMEOUTS: dict[str, Any] = {"socket_timeout": 30.0, "socket_connect_timeout": 10.0}


def connect(settings: RedisSettings, **parameters: Any) -> Client:
    """A client for the settings' Redis, Sentinel or Cluster; it connects when it is first used.

    `parameters` are redis-py's own; what the settings' connection string says stands before them.
    Raises UsageError when it names no host and port.
    """
    nodes, given = _parse(settings.redis_address)
    parameters = DEFAULT_TIMEOUTS | parameters | given
    if settings.redis_type == "redis_cluster":
        cluster = RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in nodes], **parameters)
        return cast(Client, cluster)
    if settings.redis_type == "redis_sentinel":
        return cast(Client, Sentinel(nodes, **parameters).master_for(settings.redis_sentinel_master))
    (host, port), *_ = nodes
    return redis.Redis(host=host, port=port, **parameters)


def _parse(connection_string: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    texts, parameters = redis_address.split(connection_string)
    nodes = [text.rsplit(":", 1) for text in texts]
    if not nodes or any(len(node) != 2 or not node[0] or not node[1].isdigit() for node in nodes):
        # Not the string itself: it may hold a password.
        raise UsageError(
            f"{PREFIX}REDIS_CONNECTION_STRING must start with host:port, as in redis:6379,username=jobs,ssl=true"
        )
    for name in ("username", "password"):  # a password of digits is still a text
        if name in parameters:
            parameters[name] = str(parameters[name])
    return [(host, int(port)) for host, port in nodes], parameters


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

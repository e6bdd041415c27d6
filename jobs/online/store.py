"""Redis as the jobs see it: where it is, and which entities it holds."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from jobs import redis_address
from jobs.errors import UsageError
from jobs.online.encoding import is_of_project
from jobs.settings import PREFIX, RedisSettings

Client = redis.Redis
SCAN_COUNT = 1000
# A job may wait for a Redis that is busy, but not for ever.
DEFAULT_TIMEOUTS: dict[str, Any] = {"socket_timeout": 30.0, "socket_connect_timeout": 10.0}
_GLOB_SPECIAL = frozenset(b"*?[]\\^-")


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


def entity_keys(client: Client, project: str, prefix: bytes) -> Iterator[list[bytes]]:
    """The keys of all entities of `project` whose entity key starts with `prefix`, in batches.

    Redis may hand out a key twice while its table is resized.
    """
    wanted = project.encode()
    keys = client.scan_iter(match=_literally(prefix) + b"*" + _literally(wanted), count=SCAN_COUNT)
    while batch := list(islice(keys, SCAN_COUNT)):
        # One project's name may be the end of another's.
        if found := [key for key in batch if is_of_project(key, wanted, prefix)]:
            yield found


def _literally(text: bytes) -> bytes:
    """The glob pattern of this text and no other."""
    return b"".join(b"\\" + bytes([byte]) if byte in _GLOB_SPECIAL else bytes([byte]) for byte in text)


def remove_fields(client: Client, keys: Iterable[bytes], fields: Sequence[bytes]) -> int:
    """Remove `fields` of each hash, and return how many hashes had one; a hash without fields is gone."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("HDEL", key, *fields)
    return sum(map(bool, pipeline.execute()))

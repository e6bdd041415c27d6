"""Redis as the jobs see it: where it is, which entities it holds, and a view's part of their hashes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from jobs import redis_address
from jobs.definitions import SnapshotView
from jobs.errors import UsageError
from jobs.online.encoding import (
    ENTITYLESS_JOIN_KEY,
    ENTITYLESS_VALUE,
    entity_key_prefix,
    entity_key_value,
    feature_field,
    project_of_key,
    timestamp_field,
)
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


class ViewHash:
    """A view's part of an entity's hash: the field of every feature in the view's order, then the one of its as_of."""

    def __init__(self, project: str, view: SnapshotView) -> None:
        names = [key.name for key in view.join_keys] or [ENTITYLESS_JOIN_KEY]
        self.prefix = entity_key_prefix(names)
        self.fields = [
            *(feature_field(view.name, feature.name) for feature in view.features),
            timestamp_field(view.name),
        ]
        self._types = [key.type for key in view.join_keys]
        self._project = project.encode()

    def key(self, values: Sequence[Any]) -> bytes:
        """The Redis key of the entity with these values of its join keys."""
        if not self._types:
            return self.prefix + entity_key_value(ENTITYLESS_VALUE, "STRING") + self._project
        parts = (entity_key_value(value, kind) for value, kind in zip(values, self._types, strict=True))
        return self.prefix + b"".join(parts) + self._project


def entity_keys(client: Client, project: str, prefix: bytes) -> Iterator[list[bytes]]:
    """The keys of all entities of `project` whose entity key starts with `prefix`, in batches without repetition."""
    pattern = b"".join(b"\\" + bytes([byte]) if byte in _GLOB_SPECIAL else bytes([byte]) for byte in prefix)
    wanted, seen = project.encode(), set[bytes]()
    batch: list[bytes] = []
    # Redis may hand out a key twice while its table is resized.
    for key in client.scan_iter(match=pattern + b"*", count=SCAN_COUNT):
        if key not in seen and project_of_key(key) == wanted:
            seen.add(key)
            batch.append(key)
        if len(batch) == SCAN_COUNT:
            yield batch
            batch = []
    if batch:
        yield batch


def read_hashes(client: Client, keys: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
    """The values of `fields` in each of `keys`, None where a field is absent."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("HMGET", key, *fields)
    return cast("list[list[bytes | None]]", pipeline.execute())


def write_hashes(client: Client, hashes: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
    """Set the fields of each hash; one command per hash, so that a reader sees a view's values change together."""
    pipeline = client.pipeline(transaction=False)
    for key, mapping in hashes:
        pipeline.execute_command("HSET", key, *chain.from_iterable(mapping.items()))
    pipeline.execute()


def remove_fields(client: Client, keys: Iterable[bytes], fields: Sequence[bytes]) -> None:
    """Remove `fields` of each hash; a hash without fields is gone."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("HDEL", key, *fields)
    pipeline.execute()

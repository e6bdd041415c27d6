"""The online store over a Redis Cluster: redis-py finds the node of each key."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError

from api.deadline import Deadline
from api.online_store import DEADLINE, PART, HashRead, HashReply, Reachability
from api.redis_address import RedisAddress, client_options

CONNECTIONS = 32


class ClusterStore:
    """OnlineStore for a Redis Cluster."""

    def __init__(self, address: RedisAddress) -> None:
        options = client_options(address)
        options.pop("db", None)
        nodes = [ClusterNode(host, port) for host, port in address.nodes]
        self._client: Any = RedisCluster(startup_nodes=nodes, **options)
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._state = Reachability()

    @property
    def reached(self) -> bool:
        """As promised."""
        return self._state.reached

    @property
    def connection(self) -> None:
        """None: each key has a node of its own."""
        return

    def lost(self, error: Exception) -> None:
        """As promised."""
        self._state.lost(error)

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """As promised; many hashes in one pipeline."""
        if len(reads) == 1:
            key, fields = reads[0]
            return [await self._within_deadline(partial(self._client.hmget, key, fields.names))]
        replies: list[HashReply] = []
        for start in range(0, len(reads), PART):
            part = reads[start : start + PART]
            replies += await self._within_deadline(partial(self._read_part, part))
        return replies

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """As promised."""
        found: dict[bytes, bytes] = await self._within_deadline(partial(self._client.hgetall, key))
        return found

    async def close(self) -> None:
        """As promised."""
        await self._client.aclose()

    async def _read_part(self, part: Sequence[HashRead]) -> list[HashReply]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, fields in part:
                pipeline.hmget(key, fields.names)
            replies: list[HashReply] = await pipeline.execute()
            return replies

    async def _within_deadline(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Cancelling a call closes its connection (redis-py does), so no late reply reaches another caller."""
        try:
            async with Deadline(DEADLINE), self._free:
                reply = await call()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise self._state.lost(error) from None
        self._state.found()
        return reply

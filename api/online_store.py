"""Reads hashes from Redis (alone, behind Sentinel, or a cluster) with a deadline, without retries."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.deadline import Deadline
from api.problems import OnlineStoreUnavailable
from api.redis_address import RedisAddress

logger = logging.getLogger("api.online_store")
DEADLINE = 0.25
# redis-py's own, by the clock on the wall: a call is over before, unless this process had to wait for a CPU.
LAST_RESORT = 5.0
AWAY = "The online store is away, or did not answer within 250 ms."
CONNECTIONS = 32
# A batch is read in parts of this many hashes, so that each part fits the deadline and others get their turn.
PART = 200

HashRead = tuple[bytes, Sequence[bytes]]
HashReply = list[bytes | None]


class OnlineStore(Protocol):
    """What the gateway needs of Redis. Every call ends within 250 ms a part, or raises OnlineStoreUnavailable."""

    @property
    def reached(self) -> bool:
        """Whether the last call was answered; False before the first."""

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """One reply for each (key, fields), in their order; None for a field that is not there."""

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """All fields of the hash; empty if there is none."""

    async def close(self) -> None:
        """Close the connections."""


class RedisStore:
    """OnlineStore over redis-py."""

    def __init__(self, address: RedisAddress, kind: str, master: str) -> None:
        self._client: Any = _connect(address, kind, master)
        self._free = asyncio.Semaphore(CONNECTIONS)
        self.reached = False
        self._was_lost = False

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """Read as promised; many hashes in one pipeline."""
        if len(reads) == 1:
            key, fields = reads[0]
            return [await self._within_deadline(partial(self._client.hmget, key, fields))]
        replies: list[HashReply] = []
        for start in range(0, len(reads), PART):
            part = reads[start : start + PART]
            replies += await self._within_deadline(partial(self._read_part, part))
        return replies

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """Read as promised."""
        found: dict[bytes, bytes] = await self._within_deadline(partial(self._client.hgetall, key))
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read_part(self, part: Sequence[HashRead]) -> list[HashReply]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, fields in part:
                pipeline.hmget(key, fields)
            replies: list[HashReply] = await pipeline.execute()
            return replies

    async def _within_deadline(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Cancelling a call closes its connection (redis-py does), so no late reply reaches another caller."""
        try:
            async with Deadline(DEADLINE), self._free:
                reply = await call()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._lost(error)
            raise OnlineStoreUnavailable(AWAY) from None
        self._found()
        return reply

    def _lost(self, error: Exception) -> None:
        self.reached = False
        if not self._was_lost:
            self._was_lost = True
            logger.warning("online_store_unreachable", extra={"fields": {"error": f"{type(error).__name__}: {error}"}})

    def _found(self) -> None:
        self.reached = True
        if self._was_lost:
            self._was_lost = False
            logger.info("online_store_reached_again")


def _connect(address: RedisAddress, kind: str, master: str) -> Any:
    """A client that connects when it is first used."""
    options: dict[str, Any] = {
        "socket_timeout": LAST_RESORT,
        "socket_connect_timeout": LAST_RESORT,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        **address.options,
    }
    if kind == "redis_cluster":
        options.pop("db", None)
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in address.nodes], **options)
    if kind == "redis_sentinel":
        return Sentinel(list(address.nodes), **options).master_for(master)
    host, port = address.nodes[0]
    return Redis(host=host, port=port, driver_info=None, **options)

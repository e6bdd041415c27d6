"""The online store over one pipelined connection to one Redis server: named by its address, or by Sentinels."""

from collections.abc import Sequence
from typing import Any

from api.link import Link, at, greeting, tls
from api.online_store import HashRead, HashReply, Reachability
from api.parts import Parts
from api.problems import Problem
from api.redis_address import RedisAddress
from api.redis_connection import TROUBLE, Connection, command, refuse
from api.sentinel import by_sentinel


class PipelinedStore:
    """OnlineStore for a single Redis, with or without Sentinels, TLS and credentials."""

    def __init__(self, address: RedisAddress, kind: str, master: str) -> None:
        self._state = Reachability()
        locate = by_sentinel(address, master) if kind == "redis_sentinel" else at(*address.nodes[0])
        self._link = Link(locate, tls(address.options), greeting(address.options), self.lost)
        self._parts = Parts(self._read_part)

    @property
    def reached(self) -> bool:
        """As promised."""
        return self._state.reached

    @property
    def connection(self) -> Connection | None:
        """As promised."""
        return self._link.connection

    def lost(self, error: Exception) -> Problem:
        """As promised."""
        return self._state.lost(error)

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """As promised."""
        try:
            return await (self._read_part(reads) if len(reads) == 1 else self._parts.read(reads))
        except TROUBLE as error:
            raise self._state.lost(error) from None

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """As promised."""
        try:
            [flat] = await self._ask(command("HGETALL", key), 1)
        except TROUBLE as error:
            raise self._state.lost(error) from None
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def close(self) -> None:
        """As promised."""
        await self._link.close()

    async def _read_part(self, reads: Sequence[HashRead]) -> list[HashReply]:
        return await self._ask(b"".join([fields.command(key) for key, fields in reads]), len(reads))

    async def _ask(self, commands: bytes, replies: int) -> list[Any]:
        answered = await self._link.ask(commands, replies)
        refuse(answered)
        self._state.found()
        return answered

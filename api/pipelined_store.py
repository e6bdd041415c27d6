"""The online store over one pipelined connection to one Redis server: named by its address, or by Sentinels."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis, Sentinel
from redis.exceptions import RedisError

from api.deadline import Deadline
from api.online_store import DEADLINE, PART, HashRead, HashReply, Reachability
from api.problems import Overloaded
from api.redis_address import RedisAddress, sentinel_options
from api.redis_connection import Connection, ConnectionLost, command, connect

# A slow Redis makes callers wait, and may not make them so many that memory grows: 4,000 replies are about 2 MB.
MOST_OUTSTANDING = 4_000
# Batches have half of that to themselves, part by part, so that single reads always find room.
PARTS_AT_ONCE, PARTS_WAITING = 10, 50
Locate = Callable[[], Awaitable[tuple[str, int]]]


class PipelinedStore:
    """OnlineStore for a single Redis, with or without Sentinels, TLS and credentials.

    The connection is made when it is first used, and again by the first call after it was lost.
    """

    def __init__(self, address: RedisAddress, kind: str, master: str) -> None:
        self._locate = _by_sentinel(address, master) if kind == "redis_sentinel" else _at(*address.nodes[0])
        self._tls = _tls(address.options)
        self._greeting = _greeting(address.options)
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._wait = 0
        self._parts, self._parts_waiting = asyncio.Semaphore(PARTS_AT_ONCE), 0
        self._state = Reachability()

    @property
    def reached(self) -> bool:
        """As promised."""
        return self._state.reached

    @property
    def connection(self) -> Connection | None:
        """As promised."""
        connection = self._connection
        if connection is None or connection.ended or connection.outstanding >= MOST_OUTSTANDING:
            return None
        return connection

    def lost(self, error: Exception) -> None:
        """As promised."""
        self._state.lost(error)

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """As promised."""
        if len(reads) == 1:
            [(key, fields)] = reads
            return [await self._ask(fields.command(key), 1)]
        replies: list[HashReply] = []
        for start in range(0, len(reads), PART):
            replies += await self._read_part(reads[start : start + PART])
        return replies

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """As promised."""
        flat = await self._ask(command("HGETALL", key), 1)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def close(self) -> None:
        """As promised."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()

    async def _read_part(self, reads: Sequence[HashRead]) -> list[HashReply]:
        if self._parts_waiting >= PARTS_WAITING:
            raise Overloaded
        self._parts_waiting += 1
        try:
            async with Deadline(DEADLINE):
                await self._parts.acquire()
        except TimeoutError as error:
            raise self._state.lost(error) from None
        finally:
            self._parts_waiting -= 1
        try:
            commands = b"".join([fields.command(key) for key, fields in reads])
            answered = await self._ask(commands, len(reads))
        finally:
            self._parts.release()
        return answered if len(reads) > 1 else [answered]

    async def _ask(self, commands: bytes, replies: int) -> Any:
        """The reply, or the list of several; the connection sees to the deadline."""
        connection = self._connection
        try:
            if connection is None or connection.ended:
                async with Deadline(DEADLINE):
                    connection = await self._connected()
            if connection.outstanding + replies > MOST_OUTSTANDING:
                raise Overloaded
            answered = await connection.send(commands, replies)
            _refuse(answered if replies > 1 else [answered])
        except (ConnectionLost, RedisError, OSError) as error:  # TimeoutError is an OSError
            raise self._state.lost(error) from None
        if not self._state.reached:
            self._state.found()
        return answered

    async def _connected(self) -> Connection:
        """The connection that is made now, for all who wait for it; one that nobody waits for is made all the same."""
        if self._wait >= MOST_OUTSTANDING:
            raise Overloaded
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._end_connecting)
        self._wait += 1
        try:
            return await asyncio.shield(self._connecting)
        finally:
            self._wait -= 1

    async def _connect(self) -> Connection:
        async with Deadline(DEADLINE):
            host, port = await self._locate()
            self._connection = await connect(host, port, self._tls, self._greeting, self._lost)
        return self._connection

    def _end_connecting(self, task: "asyncio.Task[Connection]") -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    def _lost(self, error: Exception) -> None:
        self._state.lost(error)


def _refuse(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise ConnectionLost(str(reply))


def _at(host: str, port: int) -> Locate:
    async def locate() -> tuple[str, int]:
        return host, port

    return locate


def _by_sentinel(address: RedisAddress, master: str) -> Locate:
    """Asks the Sentinels each time: after a failover another server is the master."""
    sentinel = Sentinel([])
    sentinel.sentinels = [
        Redis(host=host, port=port, **options) for options in sentinel_options(address) for host, port in address.nodes
    ]

    async def locate() -> tuple[str, int]:
        host, port = await sentinel.discover_master(master)
        return host, int(port)

    return locate


def _greeting(options: dict[str, Any]) -> list[bytes]:
    """What to say first on a connection."""
    commands = []
    if "password" in options:
        commands.append(command("AUTH", *filter(None, [options.get("username")]), options["password"]))
    if options.get("db"):
        commands.append(command("SELECT", options["db"]))
    if "client_name" in options:
        commands.append(command("CLIENT", "SETNAME", options["client_name"]))
    return commands


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """By redis-py's options, with its defaults: the certificate and the name in it are checked."""
    if not options.get("ssl"):
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    wanted = options.get("ssl_cert_reqs", "required")
    context.check_hostname = options.get("ssl_check_hostname", True) and wanted != "none"
    context.verify_mode = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL}.get(wanted, ssl.CERT_REQUIRED)
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context

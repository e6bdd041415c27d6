"""The way to one Redis server, and how many may wait for it."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from api.deadline import Deadline
from api.online_store import DEADLINE
from api.problems import Overloaded
from api.redis_connection import Connection, command, connect
from api.shared_call import SharedCall

# A slow Redis makes callers wait, and may not make them so many that memory grows: 4,000 replies are about 2 MB.
MOST_OUTSTANDING = 4_000
# Longer than any caller waits: a server so slow that it takes several answers to be let in is reached all the same.
CONNECT_DEADLINE = 2 * DEADLINE
Locate = Callable[[], Awaitable[tuple[str, int]]]


class Link:
    """One pipelined connection: made when it is first used, and again by the first call after it was lost."""

    def __init__(
        self,
        locate: Locate,
        tls: ssl.SSLContext | None,
        greeting: Sequence[bytes],
        lost: Callable[[Exception], object],
    ) -> None:
        self._locate, self._tls, self._greeting, self._lost = locate, tls, greeting, lost
        self._connection: Connection | None = None
        self._connecting = SharedCall(self._connect)

    @property
    def connection(self) -> Connection | None:
        """The connection, if there is one now that is not overloaded."""
        connection = self._connection
        if connection is None or connection.ended or connection.outstanding >= MOST_OUTSTANDING:
            return None
        return connection

    @property
    def is_idle(self) -> bool:
        """Whether no reply is waited for."""
        return self._connection is None or not self._connection.outstanding

    async def ask(self, commands: bytes, replies: int) -> list[Any]:
        """So many replies, refusals among them, within 250 ms; TROUBLE, or Overloaded at once."""
        connection = self._connection
        if connection is None or connection.ended:
            async with Deadline(DEADLINE):
                return await self._send(await self._connecting.result(), commands, replies)
        return await self._send(connection, commands, replies)

    async def close(self) -> None:
        """Close the connection, also one that is being made."""
        await self._connecting.close()
        if self._connection is not None:
            self._connection.close()

    async def _send(self, connection: Connection, commands: bytes, replies: int) -> list[Any]:
        if connection.outstanding + replies > MOST_OUTSTANDING:
            raise Overloaded
        answered = await connection.send(commands, replies)
        return answered if replies > 1 else [answered]

    async def _connect(self) -> Connection:
        async with Deadline(CONNECT_DEADLINE):
            host, port = await self._locate()
            self._connection = await connect(host, port, self._tls, self._greeting, self._lost)
        return self._connection


def at(host: str, port: int) -> Locate:
    """The place of a server that stays where it is."""

    async def locate() -> tuple[str, int]:
        return host, port

    return locate


def greeting(options: dict[str, Any]) -> list[bytes]:
    """What to say first on a connection."""
    commands = []
    if "password" in options:
        commands.append(command("AUTH", *filter(None, [options.get("username")]), options["password"]))
    if options.get("db"):
        commands.append(command("SELECT", options["db"]))
    if "client_name" in options:
        commands.append(command("CLIENT", "SETNAME", options["client_name"]))
    return commands


def tls(options: dict[str, Any]) -> ssl.SSLContext | None:
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

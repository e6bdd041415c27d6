"""A way to a Redis server that a test may shut, or make slow or unwilling: what a real server cannot be made to do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import hiredis
from anyio.from_thread import BlockingPortal, start_blocking_portal

from jobs.process import LOOPBACK

CHUNK = 65536


class Gate:
    """Passes bytes on between callers of `port` and the server of another port of this machine.

    `shut` it refuses connections; `mute` it takes them and what comes by them, and answers nothing; with a `refusal`
    it answers each command but AUTH with this error. It answers `delay` seconds later than the server.
    """

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal, self.server_port = portal, 0
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.accepted, self.port = 0, 0
        self.mute, self.refusal, self.delay = False, b"", 0.0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that nobody has closed."""
        return len(self._open)

    def lead_to(self, server_port: int) -> None:
        self.server_port = server_port

    def shut(self) -> None:
        """Refuse connections, and close those that there are."""
        self._portal.call(self._shut)

    def pass_on(self) -> None:
        """Be a way again."""
        self.mute, self.refusal, self.delay = False, b"", 0.0
        self._portal.call(self._listen)

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._accept, LOOPBACK, self.port)
            self.port = self._listening.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                async with _connected(self.server_port) as (replies, server):
                    back = asyncio.create_task(self._answer(replies, writer))
                    await self._ask(reader, writer, server)
                    back.cancel()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(CHUNK):
            if self.mute:
                continue
            commands.feed(data)
            for command in iter(commands.gets, False):
                is_refused = self.refusal and command[0] != b"AUTH"
                (writer if is_refused else server).write(b"-%b\r\n" % self.refusal if is_refused else _packed(command))

    async def _answer(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await replies.read(CHUNK):
                await asyncio.sleep(self.delay)
                writer.write(data)


def _packed(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.close()


@contextlib.contextmanager
def gates(count: int) -> Iterator[list[Gate]]:
    """So many of them, on free ports; each is to be told where it leads."""
    with start_blocking_portal() as portal:
        made = [Gate(portal) for _ in range(count)]
        for gate in made:
            gate.pass_on()
        yield made
        for gate in made:
            gate.shut()

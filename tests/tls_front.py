"""TLS before a server that has none: the Redis of the wheels is built without."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from jobs.process import LOOPBACK
from tests.e2e.certificates import Authority

HOST = "localhost"


class TlsFronts:
    """Ports that speak TLS alone, with a certificate for HOST; `authority` is the file of who signed it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        certificate = Authority(folder).certificate_for(HOST)
        self.authority = folder / "ca.crt"
        (folder / "own.pem").write_text(certificate.certificate + certificate.key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "own.pem")

    @contextlib.contextmanager
    def before(self, port: int) -> Iterator[int]:
        """A port that passes on to this one."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._serving(port)) as front:
            yield front

    @contextlib.asynccontextmanager
    async def _serving(self, port: int) -> AsyncIterator[int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, port)
            await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))

        server = await asyncio.start_server(serve, LOOPBACK, 0, ssl=self._context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()

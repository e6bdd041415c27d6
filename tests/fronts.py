"""Ports before a real server: one that speaks TLS, which the Redis of the wheels does not, and one on a slow line."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from jobs.process import LOOPBACK
from tests.e2e.certificates import Authority

HOST = "localhost"
AT_ONCE = 1 << 16
SLICES_A_SECOND = 100


class TlsFronts:
    """Ports that speak TLS alone, with a certificate for HOST; `authority` is the file of who signed it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        certificate = Authority(folder).certificate_for(HOST)
        self.authority = folder / "ca.crt"
        (folder / "own.pem").write_text(certificate.certificate + certificate.key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "own.pem")

    def before(self, port: int) -> contextlib.AbstractContextManager[int]:
        """A port that passes on to this one."""
        return _front(port, None, self._context)


def slow_front(port: int, bytes_a_second: int) -> contextlib.AbstractContextManager[int]:
    """A port that passes on to this one, whose answers take their time."""
    return _front(port, bytes_a_second, None)


@contextlib.contextmanager
def _front(port: int, pace: int | None, context: ssl.SSLContext | None) -> Iterator[int]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_serving(port, pace, context)) as front:
        yield front


@contextlib.asynccontextmanager
async def _serving(port: int, pace: int | None, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, port)
        await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer, pace))

    server = await asyncio.start_server(serve, LOOPBACK, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: int | None = None) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(AT_ONCE):
            if pace is None:
                writer.write(data)
                await writer.drain()
            else:
                await _write_slowly(writer, data, pace)
    writer.close()


async def _write_slowly(writer: asyncio.StreamWriter, data: bytes, pace: int) -> None:
    """Write so many bytes a second; a front that a busy machine has woken late catches up."""
    loop, size = asyncio.get_running_loop(), pace // SLICES_A_SECOND
    began = loop.time()
    for start in range(0, len(data), size):
        writer.write(data[start : start + size])
        await writer.drain()
        await asyncio.sleep(began + (start + size) / pace - loop.time())

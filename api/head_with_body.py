"""The head of an answer goes out with what follows it: one write is one system call, and wakes the caller once."""

import asyncio

_INTERIM = b"HTTP/1.1 1"


class HeadWithBody:
    """A connection's transport as one answer sees it that has a body, if an empty one (which one to HEAD has not)."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        """Keep the head back until there is more; 100 Continue, which is none, goes at once."""
        if self._head is None or data.startswith(_INTERIM):
            self._transport.write(data)
        elif not self._head:
            self._head = data
        else:
            self._send(data)

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        if self._head:
            self._send(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _send(self, data: bytes) -> None:
        self._transport.write((self._head or b"") + data)
        self._head = None

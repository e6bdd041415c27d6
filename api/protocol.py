"""What uvicorn does on a connection, and what the gateway does otherwise: its refusals, and how a connection ends."""

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import problems

# Who uses a connection as often as this hears of the end in an answer, and never finds it closed.
LINGER_SECONDS = 3.0


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers what is no HTTP before the application sees it."""

    _ending = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse and close the connection; `msg` is uvicorn's own text."""
        body = orjson.dumps(problems.body(problems.BadRequest("The bytes sent are no HTTP request.")))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def shutdown(self) -> None:
        """The server ends: the next answer is the connection's last and says so; without a request it lingers a moment.

        uvicorn closes what is idle at once, also under a request that has just been sent.
        """
        self._ending = True
        if self._is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """A request has come."""
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

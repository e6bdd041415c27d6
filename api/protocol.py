"""The HTTP parser's own refusal, as a problem too."""

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import problems


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers what is no HTTP before the application sees it."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse and close the connection; `msg` is uvicorn's own text."""
        body = orjson.dumps(problems.body(problems.BadRequest("The bytes sent are no HTTP request.")))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

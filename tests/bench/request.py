"""What the load generators send."""

from dataclasses import dataclass

MEDIA_TYPE = "application/json"


@dataclass(frozen=True)
class Request:
    """A request over HTTP/1.1; a body is JSON."""

    method: str
    path: str
    body: str = ""

    def to_bytes(self, host: str) -> bytes:
        """As it goes over the wire."""
        body = self.body.encode()
        about_body = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\n{about_body}\r\n".encode() + body

"""What the load generators send, and where."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

MEDIA_TYPE = "application/json"


@dataclass(frozen=True)
class Request:
    """A request over HTTP/1.1; a body is JSON."""

    method: str
    path: str
    body: str = ""

    def to_bytes(self, host: str, key: str = "") -> bytes:
        """As it goes over the wire, with an API key if there is one."""
        body = self.body.encode()
        about_body = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n" if body else ""
        about_key = f"Authorization: Bearer {key}\r\n" if key else ""
        return f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\n{about_key}{about_body}\r\n".encode() + body


@dataclass(frozen=True)
class Target:
    """The server that requests go to."""

    host: str
    port: int
    is_encrypted: bool = False
    path: str = ""
    """What the server's paths begin with."""

    @classmethod
    def of_url(cls, url: str) -> Self:
        """The server at a base URL; ValueError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # a port beyond 65535
            parts, port = urlsplit(""), None
        if not parts.hostname or not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError(f"{url!r} is not a base URL like http://localhost:8080")
        is_encrypted = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if is_encrypted else 80), is_encrypted, parts.path.rstrip("/"))

"""The page at /docs: Swagger UI out of its package. Like the status page it holds no data itself."""

import hashlib
from importlib import resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from api import pages

PATH = "/docs"
_FOLDER = Path(str(resources.files("fastapi_swagger") / "resources"))


class _File:
    """A file of Swagger UI as an ASGI application: read for each answer, and sent only to who has another one."""

    def __init__(self, name: str, media_type: str) -> None:
        self._path, self._media_type = _FOLDER / name, media_type
        with self._path.open("rb") as file:
            self._tag = hashlib.file_digest(file, "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {
            "Cache-Control": "no-cache",
            "ETag": f'"{self._tag}"',
            "Accept-Ranges": "none",
            "X-Content-Type-Options": "nosniff",
        }
        known = Request(scope).headers.get("if-none-match", "")
        if self._tag in known:
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        # Part of a script is of no use to a page, and what else FileResponse says of ranges is plain text.
        whole = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        await FileResponse(self._path, headers=headers, media_type=self._media_type)(whole, receive, send)


FILES = {
    f"{PATH}/{name}": _File(name, media_type)
    for name, media_type in {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}.items()
}
_SCRIPT = pages.read("docs.js")
_BODY = pages.read("docs.html").replace("{{script}}", _SCRIPT).encode()
_HEADERS = pages.headers(
    {
        "script-src": f"'self' {pages.source(_SCRIPT)}",
        "style-src": "'self'",
        "img-src": "data:",  # its icons
    }
)


async def page(_: Request) -> Response:
    """GET /docs"""
    return Response(_BODY, headers=_HEADERS, media_type="text/html")

"""The status page: one HTML document that holds no data, and asks the gateway's other calls for all that it shows."""

import base64
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

PATH = "/"
_FOLDER = Path(__file__).parent / "page"
# In this order they are one script.
_SCRIPTS = ("texts.js", "elements.js", "gateway.js", "state.js", "services.js", "look_up.js", "main.js")


def _source(text: str) -> str:
    """How a Content-Security-Policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_STYLE = _read("style.css")
_SCRIPT = "\n".join(map(_read, _SCRIPTS))
_BODY = _read("page.html").replace("{{style}}", _STYLE).replace("{{script}}", _SCRIPT).encode()
_POLICY = {
    "default-src": "'none'",
    "script-src": _source(_SCRIPT),
    "style-src": _source(_STYLE),
    "connect-src": "'self'",
    "img-src": "data:",  # its icon
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # Text never becomes markup: the browser refuses innerHTML and its like.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(_: Request) -> Response:
    """GET /"""
    return Response(_BODY, headers=_HEADERS, media_type="text/html")

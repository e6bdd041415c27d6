"""The status page: one HTML document that holds no data, and asks the gateway's other calls for all that it shows."""

from starlette.requests import Request
from starlette.responses import Response

from api import pages

PATH = "/"
# In this order they are one script.
_SCRIPTS = ("texts.js", "elements.js", "gateway.js", "state.js", "services.js", "look_up.js", "main.js")
_STYLE = pages.read("style.css")
_SCRIPT = "\n".join(map(pages.read, _SCRIPTS))
_BODY = pages.read("page.html").replace("{{style}}", _STYLE).replace("{{script}}", _SCRIPT).encode()
_HEADERS = pages.headers(
    {
        "script-src": pages.source(_SCRIPT),
        "style-src": pages.source(_STYLE),
        "img-src": "data:",  # its icon
        # Text never becomes markup: the browser refuses innerHTML and its like.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
)


async def page(_: Request) -> Response:
    """GET /"""
    return Response(_BODY, headers=_HEADERS, media_type="text/html")

"""What the gateway's pages have in common: where their parts are, and what a browser is told to refuse them."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent / "page"


def read(name: str) -> str:
    """A part of a page."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def source(text: str) -> str:
    """How a Content-Security-Policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def headers(policy: Mapping[str, str]) -> dict[str, str]:
    """Of an answer that is a page: nothing is allowed but what `policy` says, and it is looked at again each time."""
    whole = {
        "default-src": "'none'",
        **policy,
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in whole.items()),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

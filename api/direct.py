"""The common read, answered on the connection itself: no task, no scope, no message stands between reply and answer.

It is `GET /features/{id}` of a plain id with no query, for a selection that is compiled, of an entity that every view
holds a fresh row of. All else goes the ordinary way, by ASGI (`api.edge`), which gives the same answers.
"""

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol

from api import entity_key, instants
from api.compiled import Program
from api.gateway import Gateway
from api.metrics import CLIENT_CLOSED_REQUEST
from api.online_store import HashReply
from api.problems import Failure, Problem
from api.redis_connection import TROUBLE

logger = logging.getLogger("api.direct")
PATH = b"/features/"
ROUTE = "/features/{id}"
DIRECT = "api.direct"
"""Where in its scope a request has the DirectRead that it was before."""
Headers = Sequence[tuple[bytes, bytes]]
HEADERS: Headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
"""Of every answer that holds features: they are a customer's, so that no cache on the way may keep it."""


class Caller(Protocol):
    """The connection that a read came by."""

    def answer(self, read: "DirectRead", body: bytes) -> bool:
        """Send the answer; whether the caller was still there."""

    def go_on(self, read: "DirectRead", problem: Problem | None) -> None:
        """Answer it the ordinary way, or with the problem."""


class _NoEvent:
    """What uvicorn tells a request that waits for its body; this one does not."""

    def set(self) -> None:
        pass


class DirectRead:
    """One such read. What uvicorn's protocol looks at in its own requests (`cycle`) is here under the same names."""

    __slots__ = (
        "_caller", "_gateway", "_key", "body", "disconnected", "headers", "keep_alive", "more_body", "program",
        "reply", "response_complete", "started", "trace", "url",
    )  # fmt: skip
    message_event = _NoEvent()

    def __init__(
        self, gateway: Gateway, caller: Caller, program: Program, key: str | int, url: bytes, headers: Headers
    ) -> None:
        self._gateway, self._caller, self.program, self._key = gateway, caller, program, key
        self.url, self.headers, self.trace = url, headers, gateway.requests.begin(headers)
        self.keep_alive, self.more_body, self.body = True, False, b""
        self.response_complete = self.disconnected = False
        self.reply: HashReply | None = None
        """What the online store holds, where the program cannot answer."""
        self.started = perf_counter()
        gateway.metrics.in_flight += 1

    def __call__(self, reply: Any) -> None:
        """The online store has replied, or the connection to it was lost (an exception)."""
        metrics = self._gateway.metrics
        metrics.online_read.observe(perf_counter() - self.started)
        metrics.in_flight -= 1
        if isinstance(reply, TROUBLE):
            self._caller.go_on(self, self._gateway.store.lost(reply))
            return
        try:
            values = self.program.values(reply, instants.now())
            body = b"" if values is None else self.program.one(self._key, values)
        except Exception:  # nobody else would answer this caller
            fields = {"trace_id": self.trace.trace_id.decode(), "route": ROUTE}
            logger.exception("unexpected_error", extra={"fields": fields})
            self._caller.go_on(self, Failure())
            return
        if values is None:
            self.reply = reply
            self._caller.go_on(self, None)
            return
        was_there = self._caller.answer(self, body)
        code, seconds = 200 if was_there else CLIENT_CLOSED_REQUEST, perf_counter() - self.started
        metrics.request(ROUTE, "GET", code, seconds)
        self._gateway.requests.note(self.trace, ROUTE, "GET", code, seconds)


def begin(gateway: Gateway, caller: Caller, url: bytes, headers: Headers) -> DirectRead | None:
    """Ask the online store, if this way is for the request; what was asked is told to `caller`."""
    sent = url[len(PATH) :]
    connection = gateway.store.connection
    if connection is None or not gateway.plans.ready or not url.startswith(PATH) or not _is_plain(sent):
        return None
    try:
        _, program = gateway.programs.find(gateway.plans.selector, None, None)
        if program is None or not program.is_ready(gateway.status.views):
            return None
        gateway.keys.check(headers)
        key = entity_key.parse(program.key, sent.decode("ascii"))
    except Problem:
        return None
    asked, fields = program.read(key)
    read = DirectRead(gateway, caller, program, key, url, headers)
    connection.ask(fields.command(asked), read)
    return read


def _is_plain(sent: bytes) -> bool:
    return sent.isascii() and not (b"%" in sent or b"?" in sent or b"#" in sent)

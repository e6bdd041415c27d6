"""A line in the log for a request: for each, or for those that failed or were slow. Never an id of a customer."""

import logging
from time import monotonic

from api import trace_context
from api.trace_context import Trace

logger = logging.getLogger("api.requests")
# A store that is away fails thousands of requests a second, and each line costs as much as a request.
MOST_PER_SECOND = 50


class RequestLog:
    """Knows which requests are worth a line."""

    def __init__(self, every: bool, slow_seconds: float) -> None:
        self._every, self._slow_seconds = every, slow_seconds
        self._second, self._lines, self._left_out = 0, 0, 0

    begin = staticmethod(trace_context.of)
    """The trace of a request that has come, of its headers."""

    def note(self, trace: Trace, route: str, method: str, code: int, seconds: float) -> None:
        """An answered request; `code` 499 means that the caller did not wait for the answer."""
        if seconds < self._slow_seconds and code < 500 and not self._every:
            return
        if not self._every and not self._has_room():
            return
        fields = {
            "trace_id": trace.trace_id.decode(), "route": route, "method": method, "code": code,
            "duration_ms": round(seconds * 1_000, 3),
        }  # fmt: skip
        if seconds >= self._slow_seconds:
            logger.warning("slow_request", extra={"fields": fields})
        else:
            logger.log(logging.ERROR if code >= 500 else logging.INFO, "request", extra={"fields": fields})

    async def close(self) -> None:
        """There is nothing that is not written yet."""

    def _has_room(self) -> bool:
        second = int(monotonic())
        if second != self._second:
            if self._left_out:
                logger.warning("requests_not_logged", extra={"fields": {"count": self._left_out}})
            self._second, self._lines, self._left_out = second, 0, 0
        self._lines += 1
        if self._lines <= MOST_PER_SECOND:
            return True
        self._left_out += 1
        return False

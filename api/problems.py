"""Everything that can go wrong with a request: each error a class with a status, rendered in one place (RFC 9457)."""

from collections.abc import Mapping
from typing import ClassVar

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
# A caller's own text is told back, and not at any length.
LONGEST_ECHO = 100
# Who a customer is and what is known of one is nobody else's, so that no cache on the way may keep an answer.
NOT_STORED = {"Cache-Control": "no-store"}


def cut(text: str) -> str:
    """As much of a caller's text as an answer or the log repeats."""
    return text[:LONGEST_ECHO]


class Problem(Exception):
    """An answer that is no success. `detail` is one sentence for the caller, without secrets and internals."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    code: ClassVar[str] = "internal-error"

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})


class BadRequest(Problem):
    """No HTTP request at all."""

    status, title, code = 400, "Bad request", "bad-request"


class Unauthorized(Problem):
    """API keys are set and none of them was sent."""

    status, title, code = 401, "API key missing or wrong", "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "Send a valid API key in the header 'Authorization: Bearer KEY'.",
            {"WWW-Authenticate": 'Bearer realm="feature-gateway"'},
        )


class UnknownEntity(Problem):
    """No view of the asked features holds a row of the entity."""

    status, title, code = 404, "Unknown entity", "unknown-entity"


class NotFound(Problem):
    """No such path or resource."""

    status, title, code = 404, "Not found", "not-found"


class MethodNotAllowed(Problem):
    """The path takes other methods."""

    status, title, code = 405, "Method not allowed", "method-not-allowed"


class BodyTimeout(Problem):
    """The body did not come in time; closes the connection, on which the rest of it may still come."""

    status, title, code = 408, "Request timeout", "request-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The body must be whole within {seconds:.0f} s.", {"Connection": "close"})


class TooOld(Problem):
    """A value is older than the caller allows."""

    status, title, code = 412, "Older than max_age", "too-old"


class TooLarge(Problem):
    """More than one call may ask for."""

    status, title, code = 413, "Request too large", "too-large"


class InvalidRequest(Problem):
    """The request is not as documented."""

    status, title, code = 422, "Invalid request", "invalid-request"


class Internal(Problem):
    """Something that is the platform's fault and that a retry does not help."""


class Failure(Internal):
    """An error that nobody has foreseen."""

    def __init__(self) -> None:
        super().__init__("The gateway failed; its log tells why.")


class Unavailable(Problem):
    """A retry may help: answers with Retry-After, in seconds."""

    status, title, code = 503, "Unavailable", "unavailable"
    retry_after: ClassVar[int] = 1

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"Retry-After": str(self.retry_after)})


class OnlineStoreUnavailable(Unavailable):
    """Redis is away or slow."""

    title, code = "Online store unavailable", "online-store-unavailable"


class Overloaded(Unavailable):
    """More is asked at once than there is room for; refused at once, so that memory does not grow."""

    title, code = "Too many requests at once", "overloaded"

    def __init__(
        self, detail: str = "The gateway waits for as many answers of the online store as it may; try again."
    ) -> None:
        super().__init__(detail)


class TooManyConnections(Unavailable):
    """More callers are connected than there may be; the connection is closed behind it."""

    title, code = "Too many connections", "too-many-connections"

    def __init__(self) -> None:
        super().__init__("The gateway has as many connections as it may; try again.")


class OnDemandFailed(Problem):
    """The function of an on-demand feature view fails on inputs that are all there."""

    status, title, code = 502, "On-demand feature failed", "on-demand-failed"


class NotMaterialized(Unavailable):
    """A view was never materialized, or Redis was emptied."""

    title, code, retry_after = "Not materialized yet", "not-materialized", 5


class NotServable(Unavailable):
    """The serving plan has what is asked for, and is wrong about it; the next plan may be right."""

    title, code, retry_after = "Not servable", "not-servable", 5


class NoPlan(Unavailable):
    """No serving plan was read yet."""

    title, code, retry_after = "No serving plan yet", "no-serving-plan", 5


class FeatureServerUnavailable(Unavailable):
    """Feast's feature server is needed and away or slow."""

    title, code = "Feature server unavailable", "feature-server-unavailable"


def body(problem: Problem) -> dict[str, object]:
    """Build the problem document."""
    return {
        "type": f"urn:feature-platform:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }


def render(problem: Problem) -> Response:
    """Build the answer."""
    return Response(orjson.dumps(body(problem)), problem.status, NOT_STORED | problem.headers, MEDIA_TYPE)

"""The gateway as a job sees it: over HTTP, like any other caller."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, overload
from urllib.parse import quote

import httpx

from jobs.ending import first_line
from jobs.errors import JobError, UsageError
from jobs.instants import parse_instant

ONE_ANSWER_SECONDS = 10.0
BETWEEN_TRIES_SECONDS = 0.5
# What may pass: a gateway that starts, one that goes, a store that is away for a moment.
MAY_PASS = (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
Json = dict[str, Any]
Read = TypeVar("Read")


@dataclass(frozen=True)
class ServedView:
    """A feature view as the gateway's status shows it."""

    watermark: datetime
    finished_at: datetime
    """When the materialization ended that left this watermark."""


@dataclass(frozen=True)
class Status:
    """What the gateway says of itself: its views that were ever materialized, and what ages are counted from."""

    views: Mapping[str, ServedView]
    ages_from_now: bool
    """Or else from each view's watermark."""


@dataclass(frozen=True)
class Served:
    """One feature of one entity. `as_of` is None where the view holds nothing of the entity."""

    value: Any
    status: str
    as_of: datetime | None
    age: timedelta | None


class Gateway:
    """A gateway, asked again until `deadline` (of time.monotonic) where it does not answer or says to try again."""

    def __init__(self, url: str, api_key: str, deadline: float) -> None:
        self.url = url.rstrip("/")
        self._deadline = deadline
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=self.url, headers=headers)

    def wait_until_ready(self) -> None:
        """Return once it has a serving plan."""
        self._ask("GET", "/readyz", lambda answer: answer["status"])

    def default_service(self) -> str:
        """The feature service that a call without a name gets."""
        return self._ask("GET", "/feature-services", lambda answer: str(answer["default"]))

    def status(self) -> Status:
        """What it serves now."""
        return self._ask("GET", "/status", _status)

    def features(self, entity: Mapping[str, Any]) -> dict[str, Served] | None:
        """The default service's features of the entity with these join keys; None for an unknown one.

        An entity with one join key is asked for by GET, any other by POST.
        """
        if len(entity) == 1:
            (key,) = entity.values()
            return self._ask("GET", f"/features/{quote(str(key), safe='')}?metadata=true", _features, or_none=True)
        body = {"entities": {name: [value] for name, value in entity.items()}, "metadata": True}
        return self._ask("POST", "/features", lambda answer: _features(*answer["results"]), body)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @overload
    def _ask(self, method: str, path: str, read: Callable[[Any], Read], body: Json | None = None) -> Read: ...

    @overload
    def _ask(self, method: str, path: str, read: Callable[[Any], Read], *, or_none: Literal[True]) -> Read | None: ...

    def _ask(
        self, method: str, path: str, read: Callable[[Any], Read], body: Json | None = None, *, or_none: bool = False
    ) -> Read | None:
        """What `read` makes of the answer's JSON; None where nothing is found and `or_none` allows for that."""
        answer = self._answer(method, path, body)
        if or_none and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise UsageError(
                f"the gateway at {self.url} wants an API key; FEATURE_PLATFORM_API_KEY is missing or wrong"
            )
        if answer.status_code != httpx.codes.OK:
            raise JobError(f"the gateway at {self.url} answers {method} {path} with {_told(answer)}")
        try:
            return read(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"what answers at {self.url} is no gateway of this platform: {method} {path}") from error

    def _answer(self, method: str, path: str, body: Json | None) -> httpx.Response:
        while True:
            try:
                seconds = min(ONE_ANSWER_SECONDS, max(1.0, self._deadline - time.monotonic()))
                answer = self._client.request(method, path, json=body, timeout=seconds)
                if answer.status_code not in MAY_PASS:
                    return answer
                reason = _told(answer)
            except httpx.InvalidURL as error:
                raise UsageError(f"--gateway {self.url} is no URL: {error}") from error
            except httpx.HTTPError as error:
                reason = first_line(error)
            if time.monotonic() + BETWEEN_TRIES_SECONDS > self._deadline:
                raise JobError(f"time was up before the gateway at {self.url} answered {method} {path}: {reason}")
            time.sleep(BETWEEN_TRIES_SECONDS)


def _status(answer: Json) -> Status:
    views = {
        name: ServedView(parse_instant(view["watermark"]), parse_instant(view["finished_at"]))
        for name, view in answer["feature_views"].items()
        if view["materialized"]
    }
    return Status(views, ages_from_now=answer["freshness_reference"] == "now")


def _features(answer: Json) -> dict[str, Served] | None:
    if not answer.get("found", True):
        return None
    return {name: _served(value, answer["metadata"][name]) for name, value in answer["features"].items()}


def _served(value: Any, metadata: Json) -> Served:
    instant, age = metadata["event_timestamp"], metadata["age"]
    return Served(
        value,
        metadata["status"],
        None if instant is None else parse_instant(instant),
        None if age is None else timedelta(seconds=age),
    )


def _told(answer: httpx.Response) -> str:
    """The status, and why, as far as the gateway says it."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    return f"{answer.status_code}: {' '.join(str(detail).split())[:300]}"

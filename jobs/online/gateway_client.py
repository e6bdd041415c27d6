"""The gateway as a job sees it: over HTTP, like any other caller."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from jobs.errors import JobError
from jobs.instants import parse_instant

PATIENCE_SECONDS = 10.0
JsonObject = dict[str, Any]


class Gateway:
    """The gateway, asked over HTTP."""

    def __init__(self, url: str, api_key: str) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS)

    def get(self, path: str) -> httpx.Response:
        """The answer, whatever its status. Raises JobError when there is none."""
        return self._asked(lambda: self._client.get(path))

    def watermarks(self) -> dict[str, datetime | None]:
        """The watermark of each feature view; None for one that was never materialized."""
        views = self._ok(self.get("/status"))["feature_views"]
        return {name: parse_instant(view["watermark"]) if "watermark" in view else None for name, view in views.items()}

    def features(self, service: str, entities: Mapping[str, Sequence[Any]]) -> list[JsonObject]:
        """The service's features of these entities, with metadata, in the order asked."""
        body = {"entities": entities, "feature_service": service, "metadata": True}
        results: list[JsonObject] = self._ok(self._asked(lambda: self._client.post("/features", json=body)))["results"]
        return results

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _asked(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            return ask()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise JobError(f"the gateway at {self.url} cannot be asked: {error}") from error

    def _ok(self, answer: httpx.Response) -> JsonObject:
        if answer.status_code != httpx.codes.OK:
            raise JobError(f"the gateway at {self.url} says {answer.status_code}: {answer.text[:300]}")
        content: JsonObject = answer.json()
        return content

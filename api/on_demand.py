"""On-demand features: computed by Feast's feature server, which is asked with a deadline."""

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson

from api import trace_context
from api.deadline import Deadline
from api.distribution import Distribution
from api.problems import FeatureServerUnavailable
from api.selection import Selection

if TYPE_CHECKING:
    import httpx

    from api.reader import Row

logger = logging.getLogger("api.on_demand")
# Feast computes an on-demand feature in tens of milliseconds, and in more right after its start.
DEADLINE = 1.0
# httpx's own, by the clock on the wall.
LAST_RESORT = 10.0


class FeatureServer:
    """Client of Feast's feature server; without an address every on-demand feature is refused."""

    def __init__(self, url: str | None, durations: Distribution) -> None:
        """`durations` is told how long each answer took."""
        self._url, self._durations = url, durations
        self._client: httpx.AsyncClient | None = None

    async def fill(self, selection: Selection, rows: Sequence["Row"]) -> None:
        """Puts the values of on-demand features into the rows whose inputs are all there.

        FeatureServerUnavailable if one is needed and the server does not give it in time.
        """
        columns = [number for number, asked in enumerate(selection.asked) if asked.on_demand]
        wanted = [row for row in rows if any(row.cells[column].status == "PRESENT" for column in columns)]
        if not wanted:
            return
        # View by view: only within one view are the short names unique, and by their full names Feast 0.67 leaves out
        # the features of a view in python mode.
        views: dict[str, list[int]] = {}
        for column in columns:
            views.setdefault(selection.asked[column].view, []).append(column)
        await asyncio.gather(*(self._fill_view(selection, of_view, wanted) for of_view in views.values()))

    async def _fill_view(self, selection: Selection, columns: Sequence[int], rows: Sequence["Row"]) -> None:
        answer = await self._ask(
            {
                "features": [selection.asked[column].reference for column in columns],
                "entities": {key.name: [row.keys[key.name] for row in rows] for key in selection.join_keys},
                "full_feature_names": False,
            }
        )
        try:
            self._store(selection, columns, rows, answer)
        except (KeyError, IndexError, TypeError, ValueError):
            raise FeatureServerUnavailable("The feature server's answer lacks a feature that was asked for.") from None

    @staticmethod
    def _store(selection: Selection, columns: Sequence[int], rows: Sequence["Row"], answer: Any) -> None:
        names = answer["metadata"]["feature_names"]
        for column in columns:
            values = answer["results"][names.index(selection.asked[column].feature)]["values"]
            for row, value in zip(rows, values, strict=True):
                cell = row.cells[column]
                if cell.status == "PRESENT":
                    row.cells[column] = cell._replace(value=value, status="NULL_VALUE" if value is None else "PRESENT")

    async def _ask(self, request: dict[str, Any]) -> Any:
        if self._url is None:
            raise FeatureServerUnavailable("On-demand features need a feature server, and this gateway has none set.")
        import httpx  # a fifth of the start-up time, and only needed here

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=LAST_RESORT)
        url = f"{self._url}/get-online-features"
        started = perf_counter()
        try:
            with trace_context.current.get().call(url) as call:
                async with Deadline(DEADLINE):
                    try:
                        response = await self._post(url, request, call.header)
                    except (httpx.NetworkError, httpx.RemoteProtocolError):
                        # A server that goes hangs up, also on a request that has just been sent; others take its place.
                        response = await self._post(url, request, call.header)
                call.code = response.status_code
            response.raise_for_status()
            return orjson.loads(response.content)
        except (httpx.HTTPError, TimeoutError, orjson.JSONDecodeError) as error:
            logger.warning("feature_server_failed", extra={"fields": {"error": f"{type(error).__name__}: {error}"}})
            raise FeatureServerUnavailable(
                "The feature server, which computes on-demand features, did not answer."
            ) from None
        finally:
            self._durations.observe(perf_counter() - started)

    async def _post(self, url: str, request: dict[str, Any], traceparent: bytes) -> "httpx.Response":
        assert self._client is not None
        return await self._client.post(
            url,
            content=orjson.dumps(request),
            headers={"Content-Type": "application/json", "traceparent": traceparent.decode()},
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

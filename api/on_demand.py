"""On-demand features: computed by Feast's feature server, which is asked with a deadline."""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson

from api import trace_context
from api.deadline import Deadline
from api.distribution import Distribution
from api.problems import FeatureServerUnavailable, OnDemandFailed
from api.reader import NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT, Row
from api.selection import Asked, Selection

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("api.on_demand")
# Feast computes an on-demand feature in tens of milliseconds, and in more right after its start.
DEADLINE = 1.0
# httpx's own, by the clock on the wall.
LAST_RESORT = 10.0
AWAY = "The feature server, which computes on-demand features, did not answer."
# How `jobs.feature_server` says that a function fails: by the status of a row that lacks an input, and by an error that
# names the rows that lack none. It is asked again without these, so many times in all.
NO_VALUE = "INVALID"
FAILED = "OnDemandFunctionFailed"
TRIES = 3
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class _FunctionFailed(Exception):
    """The function fails on some of the rows of a request; `rows`: which."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__()
        self.rows = frozenset(rows)


@dataclass(frozen=True, slots=True)
class _View:
    """What one call wants of one on-demand feature view: the features at these positions of the selection."""

    selection: Selection
    columns: list[int]

    @property
    def asked(self) -> list[Asked]:
        """Its features, all of them computed from the same inputs."""
        return [self.selection.asked[column] for column in self.columns]

    def inputs(self, row: Row) -> tuple[str, ...]:
        """What each input is worth."""
        return row.cells[self.columns[0]].inputs

    def request(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The body of the request for these rows."""
        return {
            "features": [asked.reference for asked in self.asked],
            "entities": {key.name: [row.keys[key.name] for row in rows] for key in self.selection.join_keys},
            "full_feature_names": False,
        }

    def store(self, rows: Sequence[Row], answer: Any) -> None:
        """Put the answer's values into the rows; where there is none for want of an input, the cell stays as it is."""
        names = answer["metadata"]["feature_names"]
        for column, asked in zip(self.columns, self.asked, strict=True):
            result = answer["results"][names.index(asked.feature)]
            for row, received, status in zip(rows, result["values"], result["statuses"], strict=True):
                cell = row.cells[column]
                if status != NO_VALUE:
                    value = _value(received, asked.type)
                    row.cells[column] = cell._replace(value=value, status=PRESENT if value is not None else NULL_VALUE)
                elif cell.status == PRESENT:
                    raise ValueError("an input was read here, and not there")

    def refuse(self, row: Row) -> None:
        """The function fails on this row, which lacks nothing."""
        keys = ", ".join(f"{name} {str(value)[:200]!r}" for name, value in row.keys.items())
        view = self.asked[0].view
        row.problem = OnDemandFailed(
            f"The function of on-demand feature view {view} fails for {keys}, though none of its inputs is missing."
        )


def _value(received: Any, kind: str) -> Any:
    """What Feast's feature server means, which sends NaN and the infinities as texts."""
    if kind in ("DOUBLE", "FLOAT"):
        return _NO_NUMBERS.get(received, received)
    if kind in ("DOUBLE_LIST", "FLOAT_LIST") and received is not None:
        return [_NO_NUMBERS.get(item, item) for item in received]
    return received


def _failed_rows(content: bytes) -> Sequence[int]:
    """The rows on which a function fails, if that is what the feature server's error says."""
    try:
        error = orjson.loads(orjson.loads(content))
        rows: list[int] = error["rows"] if error["class"] == FAILED else []
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ()
    return rows


class FeatureServer:
    """Client of Feast's feature server; without an address every on-demand feature is refused."""

    def __init__(self, url: str | None, durations: Distribution) -> None:
        """`durations` is told how long each answer took."""
        self._url, self._durations = url, durations
        self._client: httpx.AsyncClient | None = None
        self._unkept: httpx.AsyncClient | None = None

    async def fill(self, selection: Selection, rows: Sequence[Row]) -> None:
        """Put the values of on-demand features into the rows; into one on which a function fails, why it has none.

        FeatureServerUnavailable if the server is needed and does not give them in time.
        """
        # View by view: only within one view are the short names unique, and by their full names Feast 0.67 leaves out
        # the features of a view in python mode.
        columns: dict[str, list[int]] = {}
        for number, asked in enumerate(selection.asked):
            if asked.on_demand:
                columns.setdefault(asked.view, []).append(number)
        await asyncio.gather(*(self._fill_view(_View(selection, of_view), rows) for of_view in columns.values()))

    async def _fill_view(self, view: _View, rows: Sequence[Row]) -> None:
        # The feature server would compute with what is too old.
        rows = [row for row in rows if OUTSIDE_MAX_AGE not in view.inputs(row)]
        for _ in range(TRIES):
            if not rows:
                return
            try:
                answer = await self._ask(view.request(rows))
            except _FunctionFailed as failed:
                fields = {"feature_view": view.asked[0].view, "rows": len(failed.rows)}
                logger.warning("on_demand_function_failed", extra={"fields": fields})
                for number in failed.rows:
                    view.refuse(rows[number])
                rows = [row for number, row in enumerate(rows) if number not in failed.rows]
                continue
            try:
                view.store(rows, answer)
            except (KeyError, IndexError, TypeError, ValueError):
                raise FeatureServerUnavailable("The feature server's answer lacks a feature asked for.") from None
            return
        raise FeatureServerUnavailable("The function of an on-demand feature view fails on other rows each time.")

    async def _ask(self, request: dict[str, Any]) -> Any:
        if self._url is None:
            raise FeatureServerUnavailable("On-demand features need a feature server, and this gateway has none set.")
        import httpx  # a fifth of the start-up time, and only needed here

        if self._client is None or self._unkept is None:
            self._client = httpx.AsyncClient(timeout=LAST_RESORT)
            self._unkept = httpx.AsyncClient(timeout=LAST_RESORT, limits=httpx.Limits(max_keepalive_connections=0))
        url = f"{self._url}/get-online-features"
        started = perf_counter()
        try:
            with trace_context.current.get().call(url) as call:
                async with Deadline(DEADLINE):
                    try:
                        response = await self._post(self._client, url, request, call.header)
                    except (httpx.NetworkError, httpx.RemoteProtocolError):
                        # A server that goes hangs up, also on a request that has just been sent; others take its place.
                        # Feast's hangs up after an error, which other kept connections may have been answered with too.
                        response = await self._post(self._unkept, url, request, call.header)
                call.code = response.status_code
            if response.is_server_error and (failed := _failed_rows(response.content)):
                raise _FunctionFailed(failed)
            response.raise_for_status()
            return orjson.loads(response.content)
        except (httpx.HTTPError, TimeoutError, orjson.JSONDecodeError) as error:
            logger.warning("feature_server_failed", extra={"fields": {"error": f"{type(error).__name__}: {error}"}})
            raise FeatureServerUnavailable(AWAY) from None
        finally:
            self._durations.observe(perf_counter() - started)

    @staticmethod
    async def _post(
        client: "httpx.AsyncClient", url: str, request: dict[str, Any], traceparent: bytes
    ) -> "httpx.Response":
        return await client.post(
            url,
            content=orjson.dumps(request),
            headers={"Content-Type": "application/json", "traceparent": traceparent.decode()},
        )

    async def close(self) -> None:
        """Close the connections."""
        for client in filter(None, (self._client, self._unkept)):
            await client.aclose()

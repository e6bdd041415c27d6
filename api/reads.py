"""The three calls that read features, as ASGI applications: nothing stands between the server and them.

Each answers the common call by a compiled program and every other one by the reader; both say the same.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from api import answers, entity_key, inputs, instants
from api.compiled import COLUMN, Column, Program, key_column
from api.direct import DIRECT, HEADERS, DirectRead
from api.gateway import Gateway
from api.online_store import PART, HashReply, TimeLeft
from api.pieces import Pieces
from api.problems import InvalidRequest, TooOld, UnknownEntity, cut
from api.reader import Cell, KeyRow, Row
from api.selection import Selection
from api.turns import Turns

Call = Callable[[Gateway, Scope, Receive, Pieces], Awaitable[None]]
"""Adds the body of a JSON answer to the pieces; Problem."""
# So many entities of a large call are read and answered in one go, and no more of them than have so many cells.
SLICE_CELLS = 10_000
# After so many cells it is time to look at the clock.
LOOK_CELLS = 500
_NO_QUERY = inputs.FeaturesQuery(b"")


class Endpoint:
    """A call as an ASGI application."""

    __slots__ = ("_call", "_gateway")

    def __init__(self, gateway: Gateway, call: Call) -> None:
        self._gateway, self._call = gateway, call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; Problem."""
        answer = Pieces(self._gateway.answers)
        try:
            await self._call(self._gateway, scope, receive, answer)
            await answer.send(send, HEADERS)
        finally:
            answer.end()


async def one(gateway: Gateway, scope: Scope, _: Receive, answer: Pieces) -> None:
    """GET /features/{id}"""
    sent = scope["query_string"]
    query = inputs.FeaturesQuery(sent) if sent else _NO_QUERY
    text = inputs.last_segment(scope["raw_path"])
    selection, program = gateway.programs.find(gateway.plans.selector, query.feature_service, query.features)
    started, replies = perf_counter(), list[HashReply]()
    before: DirectRead | None = scope.get(DIRECT)
    if before is not None and before.program is program and before.reply is not None:
        started, replies = before.started, [before.reply]
    elif program is not None and not query.metadata and query.max_age is None:
        value = entity_key.parse(program.key, text)
        replies = await _replies(gateway, program, [value])
        if replies and (values := program.values(replies[0], instants.now())) is not None:
            answer.add(program.one(value, values))
            return
    keys = inputs.key_row(selection, text)
    left = TimeLeft(len(selection.groups), spent=perf_counter() - started)
    [row] = await _rows(gateway, selection, [keys], replies, left)
    if not row.known:
        [(name, value)] = keys.items()
        raise UnknownEntity(f"The online store holds no features of {name} {cut(str(value))!r}.")
    if row.problem is not None:
        raise row.problem
    if query.max_age is not None:
        _refuse_older(selection, row, query.max_age, query.max_age_text)
    answer.add(orjson.dumps(answers.one(selection, row, query.metadata)))


async def many(gateway: Gateway, scope: Scope, receive: Receive, answer: Pieces) -> None:
    """POST /features"""
    inputs.parameters(scope["query_string"])
    body = await inputs.body(scope, receive, inputs.FeaturesBody)
    selection, program = gateway.programs.find(gateway.plans.selector, body.feature_service, body.features)
    asked, metadata = inputs.Keys(selection, body.entities), body.metadata
    del body
    await answer.reserve(asked.count * len(selection.asked))
    before, left = b'{"results":[', TimeLeft(asked.count * len(selection.groups))
    for part in _slices(asked.count, selection):
        results = await _found(gateway, selection, None if metadata else program, asked.part(part), metadata, left)
        answer.add(before + b",".join(results))
        before = b","
    answer.add(b"]}")


async def _found(
    gateway: Gateway, selection: Selection, program: Program | None, asked: inputs.Keys, metadata: bool, left: TimeLeft
) -> list[bytes]:
    """The result of each entity."""
    replies, results = list[HashReply](), [b""] * asked.count
    turns, every = Turns(), max(1, LOOK_CELLS // max(1, len(selection.asked)))
    if program is not None:
        [keys] = asked.columns
        replies, now = await _replies(gateway, program, keys, left), instants.now()
        for number, reply in enumerate(replies):
            values = program.values(reply, now)
            if values is not None:
                results[number] = program.found(keys[number], values)
            if not number % every and turns.is_over():
                await turns.wait()
    others = [number for number, result in enumerate(results) if not result]
    if others or not results:
        rows = asked.rows()
        known = [replies[number] for number in others] if replies else []
        answered = await _rows(gateway, selection, [rows[number] for number in others], known, left)
        for number, row in zip(others, answered, strict=True):
            results[number] = orjson.dumps(answers.found(selection, row, metadata))
            if turns.is_over():
                await turns.wait()
    return results


async def feast(gateway: Gateway, scope: Scope, receive: Receive, answer: Pieces) -> None:
    """POST /get-online-features"""
    body = await inputs.body(scope, receive, inputs.FeastBody)
    if not (body.feature_service or body.features):
        raise InvalidRequest("Either feature_service or features must be given.")
    if not body.feature_service and any(":" not in reference for reference in body.features):
        raise InvalidRequest("features must hold references of the form view:feature.")
    selector = gateway.plans.selector
    features = None if body.feature_service else body.features
    names, with_views = body.full_feature_names, body.include_feature_view_version_metadata
    selection, program = gateway.programs.find(selector, body.feature_service or None, features, names)
    asked = inputs.Keys(selection, body.entities, as_feast=True)
    join_keys = {key.name for key in selection.join_keys}
    entities = [name for name in body.entities if name in join_keys]
    del body
    replies = list[HashReply]()
    if program is not None and asked.count == 1:
        [keys] = asked.columns
        replies = await _replies(gateway, program, keys)
        of_one = program.columns_of_one(replies[0], instants.now()) if replies else None
        if of_one is not None:
            results = COLUMN % key_column(keys), of_one
            answer.add(b'{"results":[%b,%b],"metadata":%b}' % (*results, program.metadata(names, with_views)))
            return
    await answer.reserve(asked.count * len(selection.asked))
    before = b'{"results":['
    columns = await _all_columns(gateway, selection, program, asked, entities, answer, replies)
    turns = Turns()
    while columns:
        answer.add(before + COLUMN % columns.pop())
        before = b","
        if turns.is_over():
            await turns.wait()
    metadata = answers.feast_metadata(selection, entities, names, with_views)
    answer.add(b'],"metadata":%b}' % orjson.dumps(metadata))


async def _all_columns(
    gateway: Gateway,
    selection: Selection,
    program: Program | None,
    asked: inputs.Keys,
    entities: Sequence[str],
    answer: Pieces,
    replies: list[HashReply],
) -> list[tuple[bytearray, ...]]:
    """The results, the last one first: each can be let go when it is added. `replies`: if they are there already."""
    whole: list[tuple[bytearray, ...]] = []
    left = TimeLeft(asked.count * len(selection.groups))
    for part in _slices(asked.count, selection):
        columns = await _columns(gateway, selection, program, asked.part(part), entities, replies, left)
        if not whole:
            whole = [tuple(map(bytearray, column)) for column in columns]
            continue
        for column, more in zip(whole, columns, strict=True):
            for of_column, of_more in zip(column, more, strict=True):
                of_column += b","
                of_column += of_more
        answer.hold_beside(sum(len(of_column) for column in whole for of_column in column))
    whole.reverse()
    return whole


async def _columns(
    gateway: Gateway,
    selection: Selection,
    program: Program | None,
    asked: inputs.Keys,
    entities: Sequence[str],
    replies: list[HashReply],
    left: TimeLeft,
) -> list[Column]:
    """The results of some entities: their keys first, then the features."""
    turns = Turns()
    if program is not None and not replies:
        [keys] = asked.columns
        replies = await _replies(gateway, program, keys, left)
        columns = program.columns(replies, instants.now()) if replies else None
        if columns is not None:
            return [key_column(keys), *columns]
    answered = await _rows(gateway, selection, asked.rows(), replies, left, as_feast=True)
    columns = []
    for result in answers.feast_results(selection, answered, entities):
        columns.append(_column(result))
        if turns.is_over():
            await turns.wait()
    return columns


def _column(result: Mapping[str, Sequence[Any]]) -> Column:
    values, statuses, event_timestamps = (
        orjson.dumps(result[name])[1:-1] for name in ("values", "statuses", "event_timestamps")
    )
    return values, statuses, event_timestamps


def _slices(count: int, selection: Selection) -> Iterator[slice]:
    """The entities of a call in parts that are read and answered in one go; at least one, if an empty one."""
    step = max(1, min(PART, SLICE_CELLS // max(1, len(selection.asked))))
    return (slice(start, start + step) for start in range(0, count or 1, step))


async def _replies(
    gateway: Gateway, program: Program, keys: Sequence[str | int], left: TimeLeft | None = None
) -> list[HashReply]:
    """What the online store holds of each entity; nothing while a view is not materialized yet."""
    if not program.is_ready(gateway.status.views):
        return []
    started = perf_counter()
    try:
        return await gateway.store.read([program.read(key) for key in keys])
    finally:
        seconds = perf_counter() - started
        gateway.metrics.online_read.observe(seconds)
        if left is not None:
            left.seconds -= seconds


async def _rows(
    gateway: Gateway,
    selection: Selection,
    rows: list[KeyRow],
    replies: Sequence[HashReply],
    left: TimeLeft,
    as_feast: bool = False,
) -> list[Row]:
    """The answers, counted. `as_feast`: computes for unknown entities too, and has no place for a row's problem."""
    answered = await gateway.reader.read(selection, rows, replies, left, as_feast)
    problem = next((row.problem for row in answered if row.problem is not None), None)
    if problem is not None and as_feast:
        raise problem
    gateway.metrics.values(selection, [row for row in answered if row.problem is None])
    return answered


def _refuse_older(selection: Selection, row: Row, max_age: int, text: str) -> None:
    def age(cell: Cell) -> int:
        return -1 if cell.age is None else cell.age

    asked, oldest = max(zip(selection.asked, row.cells, strict=True), key=lambda pair: age(pair[1]))
    if age(oldest) > max_age:
        raise TooOld(f"{asked.reference} is {answers.seconds(age(oldest))} s old, more than the max_age of {text}.")

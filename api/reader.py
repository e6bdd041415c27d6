"""From a selection and rows of join keys to values and statuses: the whole meaning of a read."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from api import instants, value
from api.deadline import Deadline
from api.online_store import AWAY, HashReply, OnlineStore, TimeLeft
from api.problems import Internal, OnlineStoreUnavailable, Problem
from api.selection import Asked, Selection, Stored
from api.status import MaterializationStatus, ViewStatus
from api.turns import Turns

if TYPE_CHECKING:
    from api.on_demand import FeatureServer

PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND = "PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"
_SEVERITY = {PRESENT: 0, NULL_VALUE: 1, OUTSIDE_MAX_AGE: 2, NOT_FOUND: 3}
KeyRow = dict[str, str | int]


class Cell(NamedTuple):
    """One feature of one entity. `as_of` and `age` in nanoseconds, None if the view holds nothing for the entity.

    `inputs`: what each input of a feature that is computed on demand is worth.
    """

    value: Any
    status: str
    as_of: int | None
    age: int | None
    inputs: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The status in JSON, where NaN and the infinities are null."""
        is_number = not isinstance(self.value, float) or math.isfinite(self.value)
        return self.status if is_number else NULL_VALUE


@dataclass(slots=True)
class Row:
    """One entity's answer, a cell for each asked feature. Known: some view of the selection holds a row for it.

    `problem`: why there is no answer for it, though there may be for others.
    """

    keys: KeyRow
    known: bool
    cells: list[Cell] = field(default_factory=list)
    problem: Problem | None = None


class Reader:
    """Reads features. `freshness_reference`: ages are counted from the clock, or from each view's watermark."""

    def __init__(
        self,
        store: OnlineStore,
        status: MaterializationStatus,
        feature_server: "FeatureServer",
        project: str,
        freshness_reference: Literal["now", "watermark"],
        clock: Callable[[], int] = instants.now,
    ) -> None:
        self._store, self._status, self._feature_server = store, status, feature_server
        self._project = project.encode()
        self._from_watermark = freshness_reference == "watermark"
        self._clock = clock

    async def read(
        self,
        selection: Selection,
        rows: Sequence[KeyRow],
        replies: Sequence[HashReply],
        left: TimeLeft,
        compute_unknown: bool = False,
    ) -> list[Row]:
        """An answer for each row, in order. OnlineStoreUnavailable, NotMaterialized or FeatureServerUnavailable.

        `replies`: what the online store has said of the rows already; `left`: the time that it has for the rest.
        `compute_unknown`: compute what is computed on demand also for entities that are not known.
        """
        started = perf_counter()
        try:
            async with Deadline(left.seconds):
                replies, references = await self._settled(selection, rows, replies)
        except TimeoutError:
            raise OnlineStoreUnavailable(AWAY) from None
        left.seconds -= perf_counter() - started
        answered, turns = list[Row](), Turns()
        for row, of_row in zip(rows, _by_row(selection, replies), strict=True):
            answered.append(evaluate(selection, row, of_row, references))
            if turns.is_over():
                await turns.wait()
        if selection.on_demand:
            await self._feature_server.fill(selection, [row for row in answered if row.known or compute_unknown])
        return answered

    async def _settled(
        self, selection: Selection, rows: Sequence[KeyRow], replies: Sequence[HashReply]
    ) -> tuple[Sequence[HashReply], Mapping[str, int]]:
        """What the online store holds of the rows, and the instant from which the age of each view is counted."""
        views = await self._status.require(selection.views)
        replies = replies or await self._read(selection, rows)
        if all(_known(selection, of_row) for of_row in _by_row(selection, replies)):
            return replies, self._references(selection.views, views)
        # An emptied Redis knows nobody either, which only the status tells, if it is read after the rows. If it changed
        # meanwhile, so may have the rows.
        if await self._status.refresh():
            await self._status.require(selection.views)
            replies = await self._read(selection, rows)
        views = await self._status.require(selection.views)
        return replies, self._references(selection.views, views)

    async def _read(self, selection: Selection, rows: Sequence[KeyRow]) -> Sequence[HashReply]:
        return await self._store.read([read for row in rows for read in selection.reads(row, self._project)])

    def _references(self, names: Sequence[str], views: Mapping[str, ViewStatus]) -> Mapping[str, int]:
        """The instant from which the age of each view's values is counted."""
        if self._from_watermark:
            return {name: views[name].watermark for name in names}
        return dict.fromkeys(names, self._clock())


def _by_row(selection: Selection, replies: Sequence[HashReply]) -> Iterator[Sequence[HashReply]]:
    """The replies of each row, one a group of the selection."""
    width = len(selection.groups)
    return (replies[start : start + width] for start in range(0, len(replies), width))


def evaluate(selection: Selection, keys: KeyRow, replies: Sequence[HashReply], references: Mapping[str, int]) -> Row:
    """The row that the replies (one a group of the selection) hold. On-demand cells have a status and no value yet."""
    cells = [
        _computed(asked, replies, references) if asked.on_demand else _stored(asked.sources[0], replies, references)
        for asked in selection.asked
    ]
    return Row(keys, _known(selection, replies), cells)


def _known(selection: Selection, replies: Sequence[HashReply]) -> bool:
    """A view without join keys holds one row for everybody and says nothing about an entity."""
    pairs = list(zip(selection.groups, replies, strict=True))
    own = [pair for pair in pairs if not pair[0].entity_less] or pairs
    return any(reply[position] is not None for group, reply in own for position in group.timestamp_positions.values())


def _stored(source: Stored, replies: Sequence[HashReply], references: Mapping[str, int]) -> Cell:
    reply = replies[source.group]
    timestamp, data = reply[source.timestamp_position], reply[source.position]
    if timestamp is None:
        return Cell(None, NOT_FOUND, None, None)
    try:
        as_of = value.decode_timestamp(timestamp)
        age = max(0, references[source.view] - as_of)
        if data is None:
            return Cell(None, NOT_FOUND, as_of, age)
        if source.ttl is not None and age > source.ttl:
            return Cell(None, OUTSIDE_MAX_AGE, as_of, age)
        decoded = value.decode(data)
    except value.MalformedValue:
        raise no_value(source) from None
    return Cell(decoded, NULL_VALUE if decoded is None else PRESENT, as_of, age)


def no_value(source: Stored) -> Internal:
    """What to say of bytes that nobody should have written."""
    return Internal(f"The online store holds bytes for {source.view}:{source.feature} that are no value.")


def _computed(asked: Asked, replies: Sequence[HashReply], references: Mapping[str, int]) -> Cell:
    """What it is until it is computed: as old as its oldest input, and what its worst input is worth."""
    inputs = [_stored(source, replies, references) for source in asked.sources]
    statuses = tuple(cell.shown for cell in inputs)
    status = OUTSIDE_MAX_AGE if OUTSIDE_MAX_AGE in statuses else worst(statuses)
    as_of = min((cell.as_of for cell in inputs if cell.as_of is not None), default=None)
    age = max((cell.age for cell in inputs if cell.age is not None), default=None)
    return Cell(None, status, as_of, age, statuses)


def worst(statuses: Iterable[str]) -> str:
    """The worst of the statuses; of none, PRESENT."""
    return max(statuses, key=_SEVERITY.__getitem__, default=PRESENT)

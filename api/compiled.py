"""A selection as a program: what need not be decided for each call is decided once per plan.

It serves the common call: stored features under one join key, of an entity that every view holds a fresh row of. What
else comes back from the online store it leaves to `api.reader`, which knows all cases.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import orjson

from api import answers, entity_key, value
from api.fragments import NULL, PLAIN, PROTOBUF, Limits, timestamp_json
from api.metrics import Metrics
from api.online_store import HashRead, HashReply
from api.reader import NOT_FOUND, NULL_VALUE, PRESENT
from api.selection import Selection
from api.status import ViewStatus

Column = tuple[bytes, bytes, bytes]
"""Values, statuses and event timestamps of some entities, as JSON with commas between."""
COLUMN = b'{"values":[%b],"statuses":[%b],"event_timestamps":[%b]}'
_STATUS = {status: b'"%b"' % status.encode() for status in (PRESENT, NULL_VALUE, NOT_FOUND)}


class Program:
    """Asks for one entity's hash and makes JSON of the reply."""

    def __init__(self, selection: Selection, project: bytes, metrics: Metrics, from_watermark: bool) -> None:
        """The selection must be one that `api.programs.can_compile`."""
        (group,), (self.key,) = selection.groups, selection.join_keys
        self.selection = selection
        self._from_watermark = from_watermark
        self._views: Mapping[str, ViewStatus] = {}
        self._prefix, self._project, self._fields = group.prefix, project, group.fields
        sources = [asked.sources[0] for asked in selection.asked]
        self._by_view = list({source.view: source for source in sources}.values())
        self._pick = _picker([source.position for source in sources])
        self._pick_stamps = _picker([source.timestamp_position for source in self._by_view])
        self._limits = Limits(self._by_view, None)
        self._json, self._protobuf_json = PLAIN.__getitem__, PROTOBUF.__getitem__
        self._cells = [
            {status: metrics.value_count(source.view, status) for status in (PRESENT, NULL_VALUE, NOT_FOUND)}
            for source in sources
        ]
        self._present = [
            (metrics.value_count(source.view, PRESENT), sum(other.view == source.view for other in sources))
            for source in self._by_view
        ]
        self._stamp_of = [
            next(number for number, source in enumerate(self._by_view) if source.view == asked.sources[0].view)
            for asked in selection.asked
        ]
        self._metadata: dict[tuple[bool, bool], bytes] = {}
        count = len(sources)
        self._all_present = (PRESENT,) * count
        self._columns = b",".join([COLUMN] * count)
        self._pick_shown = itemgetter(
            *(place for n in range(count) for place in (n, count + n, 2 * count + self._stamp_of[n]))
        )
        key_name = orjson.dumps(self.key.name)
        features = b",".join(_escaped(orjson.dumps(asked.name)) + b":%b" for asked in selection.asked)
        row = _escaped(key_name) + b':%b,"features":{' + features + b"}}"
        self._one, self._found = b"{" + row, b'{"found":true,' + row

    def is_ready(self, views: Mapping[str, ViewStatus]) -> bool:
        """Whether every view was materialized; `views` is what is known of them now."""
        if views is self._views:
            return True
        if any(name not in views for name in self.selection.views):
            return False
        references = {name: view.watermark for name, view in views.items()} if self._from_watermark else None
        self._views, self._limits = views, Limits(self._by_view, references)
        return True

    def read(self, key_value: str | int) -> HashRead:
        """What to read of the entity, whose parsed join key this is."""
        return self._prefix + entity_key.encode_value(self.key, key_value) + self._project, self._fields

    def values(self, reply: HashReply, now: int) -> tuple[bytes, ...] | None:
        """The features as JSON, counted as served; None if the reply is for the reader."""
        raw = self._pick(reply)
        try:
            if now > self._limits[self._pick_stamps(reply)]:
                return None
            values = tuple(map(self._json, raw))
        except value.MalformedValue:
            return None
        self._counted(raw, values)
        return values

    def one(self, key_value: str | int, values: tuple[bytes, ...]) -> bytes:
        """The answer of GET /features/{id}."""
        return self._one % (orjson.dumps(key_value), *values)

    def found(self, key_value: str | int, values: tuple[bytes, ...]) -> bytes:
        """One result of POST /features."""
        return self._found % (orjson.dumps(key_value), *values)

    def columns(self, replies: Sequence[HashReply], now: int) -> list[Column] | None:
        """The features' columns of POST /get-online-features, counted as served; None if a reply is for the reader."""
        try:
            stamps = [self._pick_stamps(reply) for reply in replies]
            if any(now > self._limits[row] for row in stamps):
                return None
            columns = list(zip(*map(self._pick, replies), strict=True))
            values = [tuple(map(self._protobuf_json, column)) for column in columns]
        except value.MalformedValue:
            return None
        instants_of = [b",".join(map(timestamp_json, column)) for column in zip(*stamps, strict=True)]
        return [
            self._column(number, *pair, instants_of[self._stamp_of[number]])
            for number, pair in enumerate(zip(columns, values, strict=True))
        ]

    def columns_of_one(self, reply: HashReply, now: int) -> bytes | None:
        """The same of one entity as JSON, by a template of them all."""
        raw, stamps = self._pick(reply), self._pick_stamps(reply)
        try:
            if now > self._limits[stamps]:
                return None
            values = tuple(map(self._protobuf_json, raw))
        except value.MalformedValue:
            return None
        statuses = self._counted(raw, values)
        shown = tuple(map(_STATUS.__getitem__, statuses))
        columns: bytes = self._columns % self._pick_shown(values + shown + tuple(map(timestamp_json, stamps)))
        return columns

    def metadata(self, full_names: bool, with_views: bool) -> bytes:
        """The metadata of POST /get-online-features."""
        found = self._metadata.get((full_names, with_views))
        if found is None:
            document = answers.feast_metadata(self.selection, [self.key.name], full_names, with_views)
            found = self._metadata[full_names, with_views] = orjson.dumps(document)
        return found

    def _counted(self, raw: Sequence[bytes | None], values: Sequence[bytes]) -> Sequence[str]:
        """The status of each feature of one entity, which is counted as served."""
        if NULL not in values:
            for count, features in self._present:
                count[0] += features
            return self._all_present
        statuses = list(map(_status, raw, values))
        for counts, status in zip(self._cells, statuses, strict=True):
            counts[status][0] += 1
        return statuses

    def _column(
        self, number: int, raw: Sequence[bytes | None], values: Sequence[bytes], event_timestamps: bytes
    ) -> Column:
        counts = self._cells[number]
        if NULL not in values:
            counts[PRESENT][0] += len(values)
            return b",".join(values), b",".join([_STATUS[PRESENT]] * len(values)), event_timestamps
        statuses = [_status(*pair) for pair in zip(raw, values, strict=True)]
        for status in statuses:
            counts[status][0] += 1
        return b",".join(values), b",".join([_STATUS[status] for status in statuses]), event_timestamps


def key_column(values: Sequence[str | int]) -> Column:
    """The join key's column of POST /get-online-features."""
    count = len(values)
    never = b'"%b"' % answers.NEVER.encode()
    return orjson.dumps(values)[1:-1], b",".join([_STATUS[PRESENT]] * count), b",".join([never] * count)


def _picker(positions: Sequence[int]) -> Callable[[HashReply], tuple[bytes | None, ...]]:
    if len(positions) == 1:
        (position,) = positions
        return lambda reply: (reply[position],)
    return itemgetter(*positions)


def _status(data: bytes | None, json: bytes) -> str:
    return NOT_FOUND if data is None else NULL_VALUE if json is NULL else PRESENT


def _escaped(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")

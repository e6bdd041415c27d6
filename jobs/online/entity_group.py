"""Feature views over the same join keys: they share an entity's hash, so they are read and written together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from jobs.definitions import JoinKey, SnapshotView
from jobs.online.encoding import ENTITYLESS_JOIN_KEY, entity_key_prefix, feature_field, timestamp_field

MOST_COLUMNS = 1600
"""So many columns one query reads; Postgres takes 1,664, and some are needed on the way."""


@dataclass(frozen=True)
class EntityGroup:
    """Views whose join keys have the same names and types: all of these, or as many as one query can read."""

    project: str
    views: tuple[SnapshotView, ...]
    number: int = 0
    """Of the groups with these join keys which one it is."""

    @property
    def join_keys(self) -> tuple[JoinKey, ...]:
        """The join keys; their columns are the first view's."""
        return self.views[0].join_keys

    @property
    def name(self) -> str:
        """The join keys' names, as a text; a number behind them for what a first query does not read."""
        names = ",".join(key.name for key in self.join_keys) or ENTITYLESS_JOIN_KEY
        return f"{names} {self.number + 1}" if self.number else names

    @cached_property
    def prefix(self) -> bytes:
        """The bytes with which the Redis key of every entity of the group starts."""
        return entity_key_prefix([key.name for key in self.join_keys] or [ENTITYLESS_JOIN_KEY])

    @cached_property
    def fields_of(self) -> tuple[tuple[bytes, ...], ...]:
        """For each view the hash fields of its features, in the view's order, then the one of its as_of."""
        return tuple(
            (*(feature_field(view.name, feature.name) for feature in view.features), timestamp_field(view.name))
            for view in self.views
        )

    @cached_property
    def fields(self) -> tuple[bytes, ...]:
        """All of them, one view behind the other."""
        return tuple(field for fields in self.fields_of for field in fields)


def entity_groups(project: str, views: Sequence[SnapshotView]) -> list[EntityGroup]:
    """The views by their join keys, in the order of each group's first view."""
    groups: dict[tuple[tuple[str, str], ...], list[SnapshotView]] = {}
    for view in views:
        groups.setdefault(tuple((key.name, key.type) for key in view.join_keys), []).append(view)
    return [
        EntityGroup(project, tuple(part), number)
        for members in groups.values()
        for number, part in enumerate(_readable_at_once(members))
    ]


def _readable_at_once(views: Sequence[SnapshotView]) -> Iterator[list[SnapshotView]]:
    part: list[SnapshotView] = []
    columns = 0
    for view in views:
        width = len(view.join_keys) + len(view.features) + 1
        if part and columns + width > MOST_COLUMNS:
            yield part
            part, columns = [], 0
        part.append(view)
        columns += width
    yield part

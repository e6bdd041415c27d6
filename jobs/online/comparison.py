"""Whether what the gateway serves of an entity is what the offline store says of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.definitions import Service, SnapshotView
from jobs.instants import isoformat
from jobs.online.gateway_client import Served
from jobs.online.served_value import as_served

PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND = "PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"
# How far apart the clocks of two machines, and what the two say of one age, may be.
CLOCKS, MILLISECONDS = timedelta(minutes=5), timedelta(milliseconds=2)


@dataclass(frozen=True)
class ViewRows:
    """The current rows of a view at its watermark: values of its join keys to features, then the row's own as_of."""

    view: SnapshotView
    watermark: datetime
    rows: Mapping[tuple[Any, ...], tuple[Any, ...]]

    def row_of(self, entity: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The row of the entity with these join keys, if it has one."""
        return self.rows.get(tuple(entity[key.name] for key in self.view.join_keys))


class Comparison:
    """Compares a feature service, one entity after the other."""

    def __init__(self, service: Service, rows: Mapping[str, ViewRows]) -> None:
        """`rows` holds each stored view that the service reads."""
        self._service, self._rows = service, rows
        self._compared = self._too_old = 0
        self.differences: list[str] = []
        """A sentence each."""

    def add(self, entity: Mapping[str, Any], answer: Mapping[str, Served] | None, asked_at: datetime | None) -> None:
        """Compare the answer about one entity; ages are counted from `asked_at`, or where that is None from the
        watermark.
        """
        who = ", ".join(map(str, entity.values())) or "everybody"
        if answer is None:
            self.differences.append(f"the gateway does not know {who}, of whom Postgres holds a row")
            return
        for feature in self._service.features:
            if feature.name not in answer:
                self.differences.append(f"the gateway's answer has no {feature.name}")
            elif feature.feature_view in self._rows:
                rows = self._rows[feature.feature_view]
                problem = self._problem(rows, feature.feature, rows.row_of(entity), answer[feature.name], asked_at)
                self.differences += [f"{feature.name} of {who}: {problem}"] if problem else []
        more = sorted(answer.keys() - {feature.name for feature in self._service.features})
        self.differences += [f"the gateway's answer has {name}, which the registry has not" for name in more]

    def told(self, entities: int, where: str) -> str:
        """What was compared, once nothing differed."""
        stored = sum(feature.feature_view in self._rows for feature in self._service.features)
        computed = len(self._service.features) - stored
        notes = []
        if self._too_old:
            notes.append(f"{self._too_old} of {self._compared} values are older than their ttl and therefore null")
        if computed:
            notes.append(f"{counted(computed, 'feature')} computed on demand not compared")
        beside = f" ({'; '.join(notes)})" if notes else ""
        what = f"{counted(entities, 'entity')}, {counted(stored, 'feature')} of {self._service.name}"
        return f"{what} through {where} equal Postgres{beside}"

    def _problem(
        self, rows: ViewRows, name: str, row: tuple[Any, ...] | None, served: Served, asked_at: datetime | None
    ) -> str | None:
        """What is wrong with one feature, if anything is."""
        self._compared += 1
        if row is None:
            is_none = (served.value, served.status, served.as_of) == (None, NOT_FOUND, None)
            return None if is_none else f"Postgres holds no row, the gateway says {_shown(served)}"
        as_of = row[-1].astimezone(UTC)
        age = max((asked_at or rows.watermark) - as_of, timedelta())
        if served.as_of != as_of:
            return f"Postgres says it is of {_instant(as_of)}, the gateway {_instant(served.as_of)}"
        if served.age is None or abs(served.age - age) > (CLOCKS if asked_at else MILLISECONDS):
            return f"its age is {age}, the gateway says {served.age}"
        ttl = rows.view.ttl
        if ttl is not None and served.age > ttl:
            self._too_old += 1
            is_hidden = (served.value, served.status) == (None, OUTSIDE_MAX_AGE)
            return None if is_hidden else f"it is older than {ttl}, the gateway says {_shown(served)}"
        return _value_problem(rows.view, name, row, served)


def _value_problem(view: SnapshotView, name: str, row: Sequence[Any], served: Served) -> str | None:
    position = next(position for position, feature in enumerate(view.features) if feature.name == name)
    value = as_served(view.features[position].type, row[position])
    # As text 1, 1.0 and true differ, and floats keep all their digits.
    is_equal = json.dumps(served.value) == json.dumps(value)
    if is_equal and served.status == (NULL_VALUE if value is None else PRESENT):
        return None
    return f"Postgres says {json.dumps(value)}, the gateway {_shown(served)}"


def _shown(served: Served) -> str:
    return f"{json.dumps(served.value)} ({served.status})"


def counted(number: int, thing: str) -> str:
    """Like `1 entity` or `14 features`."""
    many = thing.removesuffix("y") + "ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else many}"


def _instant(instant: datetime | None) -> str:
    return "none" if instant is None else isoformat(instant)


def extremes(instants: Iterable[datetime]) -> str:
    """The instant, or the first and the last of several."""
    ordered = sorted(set(instants))
    return " to ".join(map(isoformat, dict.fromkeys([ordered[0], ordered[-1]])))

"""Which Postgres types may stand behind which Feast types: what `apply` accepts, as one table.

Accepted is what the online store and training sets honour alike. Postgres' types are named as `format_type` names them;
a domain is its base type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Fit(Enum):
    """How a Postgres type stands to a Feast type."""

    EXACT = auto()
    """The Feast type holds every value."""
    CHECKED = auto()
    """It holds some: each value is looked at; of those that fit, a fraction may be rounded to the type's precision."""
    REFUSED = auto()
    """The types do not belong together."""


@dataclass(frozen=True)
class PostgresType:
    """A column's type: its name, and the name of its elements' type where it is an array."""

    name: str
    element: str | None = None


_SMALL, _LARGE, _FRACTIONS = ("smallint", "integer"), ("bigint",), ("numeric", "real", "double precision")
TIME_TYPES = ("date", "timestamp without time zone", "timestamp with time zone")
"""The types that a source's time columns may have."""
TOMBSTONE_TYPES = ("boolean",)


def _table(exact: tuple[str, ...], checked: tuple[str, ...] = ()) -> Mapping[str, Fit]:
    return {**dict.fromkeys(exact, Fit.EXACT), **dict.fromkeys(checked, Fit.CHECKED)}


SCALARS: Mapping[str, Mapping[str, Fit]] = {
    "INT32": _table(_SMALL, (*_LARGE, *_FRACTIONS)),
    "INT64": _table((*_SMALL, *_LARGE), _FRACTIONS),
    "FLOAT": _table(("smallint", "real"), ("integer", *_LARGE, "numeric", "double precision")),
    "DOUBLE": _table((*_SMALL, "real", "double precision"), (*_LARGE, "numeric")),
    "BOOL": _table(("boolean",)),
    "BYTES": _table(("bytea",)),
    "UNIX_TIMESTAMP": _table(("date",), TIME_TYPES[1:]),
}
"""Of each ValueType but STRING the Postgres types that are not refused. STRING takes every type, as its text."""
_LIST = "_LIST"


def fits(value_type: str, column: PostgresType) -> Fit:
    """How `column` stands to Feast's ValueType `value_type`, of a feature or a join key."""
    if value_type == "STRING":
        return Fit.EXACT
    if not value_type.endswith(_LIST):
        return SCALARS[value_type].get(column.name, Fit.REFUSED)
    if column.element is None:
        return Fit.REFUSED
    return fits(value_type.removesuffix(_LIST), PostgresType(column.element))


def accepted(value_type: str) -> str:
    """The Postgres types that `value_type` takes, for a sentence."""
    item = value_type.removesuffix(_LIST)
    types = "any type" if item == "STRING" else " or ".join(SCALARS[item])
    return f"an array of {types}" if value_type.endswith(_LIST) else types

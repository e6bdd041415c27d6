"""Which row of a source is current at an instant T: the one rule, in SQL, for everything that reads snapshots.

Of the rows of a key with as_of <= T and, under a ttl, as_of >= T - ttl: for each as_of the row with the greatest
created_at stands for it; where that one is a tombstone, the as_of is absent; of the others the greatest as_of is
current. Of rows that are equal in key and both times the first by their own values is taken: in the order of the view's
features, NULL last, then a live row before a tombstone.

A row whose key, as_of or created_at is NULL cannot be placed: it is left out, and counted. So is an as_of of -infinity.

Keys compare as their bytes in Redis do, whatever type and collation the column has. Expressions expect a session in
UTC, in which a `date` is its midnight and a `timestamp` without zone is an instant in UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

ALIAS = sql.SQL("s")
"""What a source is called in a query: `FROM {relation} AS s`."""
# Types of features whose columns Postgres can order as they are; the others are ordered as text.
_ORDERED = frozenset({"INT32", "INT64", "DOUBLE", "FLOAT", "BOOL", "UNIX_TIMESTAMP", "BYTES"})


@dataclass(frozen=True)
class TypedColumn:
    """A column of a source and the Feast ValueType's name that is declared of it."""

    name: str
    type: str


@dataclass(frozen=True)
class SnapshotSource:
    """A source as the rule sees it; columns are named as in the source."""

    relation: str
    """What stands behind FROM: a table's name or a query in parentheses."""
    keys: tuple[TypedColumn, ...]
    features: tuple[TypedColumn, ...]
    """Those of the whole view, whichever of them are asked for: they decide between rows of equal times."""
    as_of_column: str
    created_at_column: str | None
    tombstone_column: str | None

    @property
    def table(self) -> sql.Composed:
        """What stands behind FROM."""
        return sql.SQL("{} AS {}").format(sql.SQL(self.relation), ALIAS)

    @property
    def key(self) -> list[sql.Composed]:
        """The join keys' values, of the types that `key_type` names."""
        return [key_of(key) for key in self.keys]

    @property
    def as_of(self) -> sql.Composed:
        """The instant that a row describes."""
        return instant(source_column(self.as_of_column))

    @property
    def created_at(self) -> sql.Composed | None:
        """The instant since when a row is known; None for a source that does not tell."""
        return instant(source_column(self.created_at_column)) if self.created_at_column else None

    @property
    def is_tombstone(self) -> sql.Composable:
        """Whether a row takes its as_of back."""
        if not self.tombstone_column:
            return sql.SQL("false")
        return sql.SQL("({} IS TRUE)").format(source_column(self.tombstone_column))

    @property
    def latest_first(self) -> list[sql.Composable]:
        """The order, within a key, in which the row that stands for an as_of comes first, the latest as_of before all.

        It depends on nothing but the rows.
        """
        times = [self.as_of, *filter(None, [self.created_at])]
        values = [feature_value(source_column(one.name), one.type) for one in self.features]
        tombstone = [self.is_tombstone] if self.tombstone_column else []
        return [*(sql.SQL("{} DESC").format(time) for time in times), *values, *tombstone]

    @property
    def is_complete(self) -> list[sql.Composable]:
        """What holds of a row of some window that can be current: it has a key, and says since when it is known."""
        plain = {"STRING", "BYTES"}  # of a plain column Postgres may know that it is never NULL
        keys = [source_column(key.name) if key.type in plain else key_of(key) for key in self.keys]
        return [sql.SQL("{} IS NOT NULL").format(one) for one in (*keys, *filter(None, [self.created_at]))]

    @property
    def is_placed(self) -> sql.Composed:
        """Whether a row can be current at some instant."""
        return conjunction([sql.SQL("{} > '-infinity'").format(self.as_of), *self.is_complete])

    def window(self, last: sql.Composable, first: sql.Composable | None) -> list[sql.Composable]:
        """What holds of every row that can be current at `last`: not of later, and not of before `first`."""
        earliest = sql.SQL("> '-infinity'") if first is None else sql.SQL(">= {}").format(first)
        return [sql.SQL("{} <= {}").format(self.as_of, last), sql.SQL("{} {}").format(self.as_of, earliest)]

    def in_sight(self, window: Sequence[sql.Composable]) -> sql.Composed:
        """Whether a row is in this window, or in none for want of an as_of: if it is not placed, it is left out."""
        return sql.SQL("(({}) OR {} IS NULL OR {} = '-infinity')").format(conjunction(window), self.as_of, self.as_of)


def source_column(name: str) -> sql.Composed:
    """A column of the source."""
    return sql.SQL("{}.{}").format(ALIAS, sql.Identifier(name))


def key_of(key: TypedColumn) -> sql.Composed:
    """The value of a source's join key."""
    return key_value(source_column(key.name), key.type)


def instant(value: sql.Composable) -> sql.Composed:
    """A `date`, `timestamp` or `timestamptz` as an instant."""
    return sql.SQL("{}::timestamptz").format(value)


def key_value(value: sql.Composable, kind: str) -> sql.Composed:
    """What becomes the bytes of an entity key of Feast's type `kind`: equal just where the bytes are."""
    collation = sql.SQL('COLLATE "C"' if kind == "STRING" else "")
    return sql.SQL("{} {}").format(key_operand(value, kind), collation)


def key_operand(value: sql.Composable, kind: str) -> sql.Composed:
    """The same, of the SQL type that `key_type` names, under whatever collation the value has.

    NULL for a number that is not whole, of which there are no bytes.
    """
    match kind:
        case "STRING":
            form = "{}::text"
        case "INT32" | "INT64":
            form = "CASE WHEN {0}::bigint = {0} THEN {0}::bigint END"
        case "UNIX_TIMESTAMP":  # whole seconds; by its text, because the column's type is not known here
            form = (
                "CASE WHEN pg_typeof({0}) = ANY ('{{date,timestamp,timestamptz}}'::regtype[])\n"
                "THEN floor(extract(epoch FROM {0}::text::timestamptz))::bigint ELSE {0}::text::bigint END"
            )
        case _:
            form = "{}"
    return sql.SQL(form).format(value)


def key_is(value: sql.Composable, kind: str, operand: sql.Composable) -> sql.Composed:
    """Whether a column is the key `operand`, which has the type of `key_operand`, or is `ANY (...)` of these.

    In a form in which Postgres can use an index on the column.
    """
    if kind == "STRING":
        # An index has the column's own collation; only under "C" are equal texts the same bytes.
        form = '{0}::text = {1} AND {0}::text COLLATE "C" = {1}'
    elif kind in ("INT32", "INT64", "BYTES"):
        form = "{0} = {1}"
    else:
        return sql.SQL("{} = {}").format(key_operand(value, kind), operand)
    return sql.SQL(form).format(value, operand)


def key_type(kind: str) -> str:
    """The SQL type of `key_value` of Feast's type `kind`."""
    return {"STRING": "text", "BYTES": "bytea"}.get(kind, "bigint")


def feature_value(value: sql.Composable, kind: str) -> sql.Composable:
    """What is read for a feature of Feast's type `kind`: as text where that is its type, whatever the column has."""
    # Arrow cannot print all that Postgres can, and where the collation says so, different texts are equal.
    if kind.removesuffix("_LIST") in _ORDERED:
        return value
    return sql.SQL('{}::text{} COLLATE "C"').format(value, sql.SQL("[]" if kind == "STRING_LIST" else ""))


def comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    """The parts with commas between."""
    return sql.SQL(", ").join(parts)


def conjunction(conditions: Iterable[sql.Composable]) -> sql.Composed:
    """All of the conditions, of which there is one at least."""
    return sql.SQL(" AND ").join(conditions)

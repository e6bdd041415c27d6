"""A repository whose views read every Postgres type that fits, each as every Feast type that it fits."""

from dataclasses import dataclass
from pathlib import Path

from jobs.column_types import Fit, PostgresType, fits
from jobs.online.encoding import VALUE_TYPES

# Of each type an ordinary value; a number that every number type holds.
ORDINARY = {
    "boolean": "true", "smallint": "-7", "integer": "7", "bigint": "16000000", "real": "30000",
    "double precision": "-2", "numeric": "12.00", "text": "'Zoë'", "character varying": "'x'", "character(3)": "'x'",
    "name": "'x'", "\"char\"": "'x'", "bytea": r"'\x01ff'", "date": "'2024-01-31'",
    "timestamp without time zone": "'2024-01-31 01:02:03.5'", "timestamp with time zone": "'2024-01-31 01:02:03.5+02'",
    "time without time zone": "'01:02'", "time with time zone": "'01:02+02'", "interval": "'1 day 2 hours'",
    "uuid": "'00000000-0000-0000-0000-00000000000f'", "json": """'{"b": 1,"a": [1]}'""",
    "jsonb": """'{"b":1,"a":"x"}'""",
    "xml": "'<a/>'", "inet": "'1.2.3.4'", "bit(3)": "B'101'", "money": "1.5", "oid": "7", "int4range": "'[1,5)'",
    "point": "'(1,2)'", "tsvector": "'a b'", "pg_lsn": "'0/10'", "mood": "'glad'", "pair": "(1,'x')",
    "whole": "7", "words": "'x'",
}  # fmt: skip
TYPES = "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE pair AS (a int, b text); " \
        "CREATE DOMAIN whole AS bigint; CREATE DOMAIN words AS text;"  # fmt: skip
_DOMAINS = {"whole": "bigint", "words": "text"}
_NAMES = {"character(3)": "character", "bit(3)": "bit"}


TEXTS = {
    "tiny": "1e-7::double precision", "large": "1e20::real", "tenth": "0.1::real", "tail": "12.500::numeric",
    "nan": "'NaN'::double precision", "yes": "true", "day": "'0001-01-01'::date", "json": """'"x"'::json""",
    "instant": "'2024-01-31 01:02:03.5+02'::timestamptz", "padded": "'x'::char(4)", "bytes": r"'\\x01ff'::bytea",
    "tenths": "'{0.1}'::real[]", "days": "'{2024-01-31}'::date[]",
}  # fmt: skip
"""Expressions of which text can be made in more than one way, for a view of texts."""


HARD = [
    ("INT32", "bigint", "3000000000"), ("INT64", "numeric", "1.5"), ("INT64", "numeric", "'NaN'"),
    ("INT64", "numeric", "1e30"), ("INT64", "numeric", "1.00000000000000"), ("INT64", "double precision", "1.5"),
    ("INT64", "double precision", "'NaN'"), ("INT64", "double precision", "1e300"), ("INT32", "real", "'Infinity'"),
    ("FLOAT", "double precision", "1e300"), ("FLOAT", "numeric", "1e300"), ("DOUBLE", "numeric", "1e400"),
    ("DOUBLE", "bigint", "9007199254740993"), ("FLOAT", "bigint", "16777217"),
    ("UNIX_TIMESTAMP", "timestamptz", "'infinity'"), ("UNIX_TIMESTAMP", "timestamp", "'-infinity'"),
    ("UNIX_TIMESTAMP", "date", "'infinity'"), ("UNIX_TIMESTAMP", "date", "'4713-01-01 BC'"),
    ("UNIX_TIMESTAMP", "timestamp", "'294276-01-01'"), ("UNIX_TIMESTAMP_LIST", "timestamptz[]", "'{infinity}'"),
    ("INT64_LIST", "bigint[]", "'{1,NULL}'"), ("INT64_LIST", "bigint[]", "'{{1,2},{3,4}}'"),
    ("INT64_LIST", "bigint[]", "'[0:1]={1,2}'"), ("INT32_LIST", "bigint[]", "'{3000000000}'"),
    ("INT64_LIST", "numeric[]", "'{1.5}'"), ("DOUBLE_LIST", "numeric[]", "'{1e400}'"),
    ("DOUBLE_LIST", "numeric[]", "'{}'"), ("STRING_LIST", "text[]", "'{a,NULL}'"),
    ("STRING_LIST", "text[]", "'{{a},{b}}'"), ("STRING", "bytea", r"'\\x00'"), ("BYTES", "bytea", "''"),
]  # fmt: skip
"""A Feast type, a column's type that it accepts, and a value that it may not hold."""


@dataclass(frozen=True)
class Column:
    """A column of the table `typed`: its name, its type as it is created, as Postgres describes it, and a value."""

    name: str
    declared: str
    described: PostgresType
    value: str


def columns() -> list[Column]:
    """One of each type, and of the array of each."""
    found = []
    for number, (declared, value) in enumerate(ORDINARY.items()):
        name = _NAMES.get(declared, declared)
        base = _DOMAINS.get(declared, name)
        found.append(Column(f"c{number}", declared, PostgresType(base), value))
        array = f"ARRAY[{value}::{declared}, {value}::{declared}]"
        found.append(Column(f"a{number}", f"{declared}[]", PostgresType(f"{name}[]", base), array))
    return found


def fitting(value_type: str) -> list[Column]:
    """The columns that `apply` accepts for a Feast type."""
    return [column for column in columns() if fits(value_type, column.described) is not Fit.REFUSED]


def feast_type(value_type: str) -> str:
    """How a definition writes a ValueType."""
    item = value_type.removesuffix("_LIST")
    names = {
        "BYTES": "Bytes", "STRING": "String", "INT32": "Int32", "INT64": "Int64", "DOUBLE": "Float64",
        "FLOAT": "Float32", "BOOL": "Bool", "UNIX_TIMESTAMP": "UnixTimestamp",
    }  # fmt: skip
    return f"Array({names[item]})" if value_type.endswith("_LIST") else names[item]


HEADER = """from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


def rows(name, table):
    return PostgreSQLSource(name=name, table=table, timestamp_field="as_of", created_timestamp_column="created_at")


def view(name, table, **types):
    schema = [Field(name="user_id", dtype=String), *(Field(name=key, dtype=value) for key, value in types.items())]
    return FeatureView(name=name, entities=[user], source=rows(name, table), schema=schema)


"""
KEYS = "user_id text, as_of timestamptz NOT NULL, created_at timestamptz NOT NULL"


def _texts() -> str:
    selected = ", ".join(f"{value} AS {name}" for name, value in TEXTS.items())
    query = f"SELECT user_id, as_of, created_at, {selected} FROM typed"
    schema = ", ".join(f"Field(name={name!r}, dtype=String)" for name in ("user_id", *TEXTS))
    return (
        f"texts = FeatureView(name='texts', entities=[user], schema=[{schema}], source=PostgreSQLSource(name='texts', "
        f"query={query!r}, timestamp_field='as_of', created_timestamp_column='created_at'))"
    )


def write(folder: Path, store_yaml: str) -> None:
    """Write the repository: a view of each Feast type, named by it, and the view `texts`."""
    made = columns()
    defined = ", ".join(f"{column.name} {column.declared}" for column in made)
    values = ", ".join(f"{column.value}::{column.declared}" for column in made)
    empty = ", ".join("NULL" for _ in made)
    at = "'2024-01-31Z', '2024-02-01Z'"
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations" / "0001.sql").write_text(
        f"{TYPES} CREATE TABLE typed ({KEYS}, {defined}); "
        f"INSERT INTO typed VALUES ('full', {at}, {values}), ('empty', {at}, {empty});"
    )
    views = [
        f"v_{value_type.lower()} = view({value_type.lower()!r}, 'typed', "
        f"{', '.join(f'{column.name}={feast_type(value_type)}' for column in fitting(value_type))})"
        for value_type in sorted(VALUE_TYPES)
    ]
    (folder / "typed_features.py").write_text(
        HEADER + "\n".join([*views, _texts()]) + '\nall_of_one = FeatureService(name="one", features=[v_bool], '
        'tags={"default": "true"})\n'
    )
    (folder / "feature_store.yaml").write_text(store_yaml)


def write_hard(folder: Path, store_yaml: str) -> list[str]:
    """Write a repository with a view, of one row, for each of HARD; returns their names."""
    names = [f"h{number}" for number in range(len(HARD))]
    at = "'2024-01-31Z', '2024-02-01Z'"
    (folder / "migrations").mkdir(parents=True)
    (folder / "migrations" / "0001.sql").write_text(
        "".join(
            f"CREATE TABLE {name} ({KEYS}, x {column}); INSERT INTO {name} VALUES ('k', {at}, {value}); "
            for name, (_, column, value) in zip(names, HARD, strict=True)
        )
    )
    views = [
        f"{name} = view({name!r}, {name!r}, x={feast_type(value_type)})"
        for name, (value_type, _, _) in zip(names, HARD, strict=True)
    ]
    one = 'all_of_one = FeatureService(name="one", features=[h0], tags={"default": "true"})'
    (folder / "hard_features.py").write_text(HEADER + "\n".join([*views, one]) + "\n")
    (folder / "feature_store.yaml").write_text(store_yaml)
    return names

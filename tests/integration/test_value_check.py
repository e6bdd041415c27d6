"""A value that its declared type cannot hold ends a run before anything is written; one that it can is what it is."""

from typing import Any

import pytest

from jobs import materialize
from tests.bytes_redis import BytesRedis
from tests.defined_views import create, define, insert, view_over
from tests.integration.point_in_time_support import DAY
from tests.integration.test_current_row import LATER, TIMES, held, key_of
from tests.offline import JANUARY, OfflineStore, dump

MISFITS = [
    ("INT32", "bigint", 2**31),
    ("INT32", "numeric", "1.5"),
    ("INT64", "numeric", str(2**63)),
    ("INT64", "numeric", "NaN"),
    ("INT64", "double precision", "1e300"),
    ("INT64", "double precision", 0.5),
    ("INT64", "real", "Infinity"),
    ("FLOAT", "bigint", 2**24 + 1),
    ("FLOAT", "integer", -(2**24) - 1),
    ("FLOAT", "double precision", 1e39),
    ("FLOAT", "numeric", "-1e39"),
    ("DOUBLE", "bigint", 2**53 + 1),
    ("DOUBLE", "bigint", 2**63 - 1),
    ("DOUBLE", "numeric", "1e309"),
    ("UNIX_TIMESTAMP", "timestamptz", "infinity"),
    ("UNIX_TIMESTAMP", "timestamp", "-infinity"),
    ("UNIX_TIMESTAMP", "date", "infinity"),
    ("INT32_LIST", "bigint[]", [1, 2**31]),
    ("DOUBLE_LIST", "bigint[]", [2**53 + 1]),
    ("INT64_LIST", "bigint[]", "{{1,2},{3,4}}"),
    ("STRING_LIST", "text[]", "{{a},{b}}"),
    ("UNIX_TIMESTAMP_LIST", "timestamptz[]", "{infinity}"),
]
FITTING: list[tuple[str, str, Any, object]] = [
    ("INT32", "bigint", -(2**31), -(2**31)),
    ("INT32", "numeric", "7.000", 7),
    ("INT64", "numeric", str(2**63 - 1), 2**63 - 1),
    ("INT64", "double precision", 2.0**40, 2**40),
    ("FLOAT", "double precision", 0.1, 0.10000000149011612),
    ("FLOAT", "numeric", "0.1", 0.10000000149011612),
    ("FLOAT", "bigint", -(2**24), -(2.0**24)),
    ("DOUBLE", "bigint", 2**53, 2.0**53),
    ("DOUBLE", "numeric", "29.85", 29.85),
    ("DOUBLE", "double precision", "-Infinity", float("-inf")),
    ("DOUBLE", "numeric", "Infinity", float("inf")),
    ("UNIX_TIMESTAMP", "date", "1969-12-31", -86400),
    ("UNIX_TIMESTAMP", "timestamp", "1969-12-31 23:59:59.5", -1),
]


def table_of(platform: OfflineStore, kind: str, column: str, rows: list[tuple[Any, ...]]) -> None:
    create(platform.connection, "t", {"k": "text"} | TIMES | {"v": column})
    insert(platform.connection, "t", rows)
    define(platform.connection, view_over("t", {"k": "STRING"}, {"v": kind}))


@pytest.mark.parametrize(("kind", "column", "value"), MISFITS)
def test_a_value_that_does_not_fit_is_named_with_its_key_and_nothing_is_written(
    platform: OfflineStore,
    redis_client: BytesRedis,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    column: str,
    value: Any,
) -> None:
    table_of(platform, kind, column, [("a", JANUARY, LATER, None), ("b", JANUARY, LATER, value)])
    assert materialize.main([]) == 3
    said = capsys.readouterr().out
    assert "feature t:v of key (b) is " in said
    assert f"which is no {kind}; nothing was changed" in said
    assert dump(redis_client) == {}


@pytest.mark.parametrize(("kind", "column", "value", "expected"), FITTING)
def test_a_value_that_fits_a_narrower_type_is_served_as_it_is(
    platform: OfflineStore, redis_client: BytesRedis, kind: str, column: str, value: Any, expected: object
) -> None:
    table_of(platform, kind, column, [("a", JANUARY, LATER, value)])
    assert materialize.main([]) == 0
    assert held(redis_client, key_of(["k"], ["a"]), "t", "v") == expected


def test_a_value_that_was_corrected_stops_nobody(platform: OfflineStore, redis_client: BytesRedis) -> None:
    table_of(platform, "INT32", "bigint", [("a", JANUARY, LATER, 2**40), ("a", JANUARY, LATER + DAY, 40)])
    assert materialize.main([]) == 0
    assert held(redis_client, key_of(["k"], ["a"]), "t", "v") == 40


@pytest.mark.parametrize(("kind", "column", "value"), [("INT64", "numeric", "1.5"), ("INT32", "bigint", 2**31)])
def test_a_key_that_does_not_fit_is_named_and_nothing_is_written(
    platform: OfflineStore,
    redis_client: BytesRedis,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    column: str,
    value: Any,
) -> None:
    create(platform.connection, "t", {"k": column} | TIMES | {"v": "text"})
    insert(platform.connection, "t", [(1, JANUARY, LATER, "x"), (value, JANUARY, LATER, "y")])
    define(platform.connection, view_over("t", {"k": kind}, {"v": "STRING"}))
    assert materialize.main([]) == 3
    assert f"join key k of feature view t is {value}, which is no {kind}" in capsys.readouterr().out
    assert dump(redis_client) == {}

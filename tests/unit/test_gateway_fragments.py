"""What the gateway remembers makes answers faster, never different, and never grows by what callers ask for."""

import gc
import hashlib
import json

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from api import answers, programs
from api.compiled import Program
from api.fragments import FOR_EVER, LONGEST_REMEMBERED, NULL, REMEMBERED, TIMESTAMPS_REMEMBERED, Fragments, Limits
from api.instants import SECOND
from api.metrics import Metrics
from api.plan_reading import parse
from api.programs import Programs
from api.selection import Selector, Stored
from api.value import MalformedValue
from tests import gateway_support as support

TTL = 100 * SECOND


def stored(view: str, ttl: int | None = TTL) -> Stored:
    return Stored(view, "feature", 0, 0, 1, ttl)


def selector() -> Selector:
    document = json.dumps(support.plan()).encode()
    return Selector(parse(document, hashlib.sha256(document).hexdigest(), support.PROJECT))


def stamp(seconds: int) -> bytes:
    return bytes(Timestamp(seconds=seconds).SerializeToString())


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (Value(int64_val=2), b"2"),
        (Value(double_val=29.85), b"29.85"),
        (Value(string_val='"%b'), b'"\\"%b"'),
        (Value(), b"null"),
    ],
)
def test_a_value_reads_the_same_the_first_time_and_the_next(value: Value, json: bytes) -> None:
    fragments = Fragments(answers.plain)
    data = value.SerializeToString()
    assert [fragments[data], fragments[data]] == [json, json]


def test_a_value_that_is_not_there_is_that_very_null() -> None:
    fragments = Fragments(answers.plain)
    assert fragments[None] is fragments[b""] is NULL
    with pytest.raises(MalformedValue):
        fragments[b"\xff"]


def test_values_are_remembered_up_to_a_bound_and_long_ones_never() -> None:
    fragments = Fragments(answers.plain)
    for number in range(REMEMBERED + 100):
        assert fragments[Value(int64_val=number + 1).SerializeToString()] == b"%d" % (number + 1)
        assert len(fragments) <= REMEMBERED
    assert fragments[None] is NULL, "also after it began anew"
    before = len(fragments)
    long = "x" * LONGEST_REMEMBERED
    assert fragments[Value(string_val=long).SerializeToString()] == b'"%b"' % long.encode()
    assert len(fragments) == before


def test_rows_are_fresh_up_to_the_least_of_their_views_limits_inclusive() -> None:
    limits = Limits([stored("usage"), stored("usage", 10 * SECOND)], None)
    assert limits[stamp(1_000), stamp(1_050)] == 1_060 * SECOND
    assert limits[stamp(1_000), None] == -1
    assert Limits([stored("usage", None)], None)[(stamp(1_000),)] == FOR_EVER


@pytest.mark.parametrize(("watermark", "limit"), [(1_100, FOR_EVER), (1_101, -1)])
def test_where_ages_count_from_the_watermark_the_clock_does_not_matter(watermark: int, limit: int) -> None:
    limits = Limits([stored("usage")], {"usage": watermark * SECOND})
    assert limits[(stamp(1_000),)] == limit


def test_timestamps_are_remembered_up_to_a_bound() -> None:
    limits = Limits([stored("usage")], None)
    for second in range(TIMESTAMPS_REMEMBERED + 100):
        assert limits[(stamp(second + 1),)] == (second + 101) * SECOND
        assert len(limits) <= TIMESTAMPS_REMEMBERED


def test_programs_are_kept_up_to_a_bound_whatever_lists_of_features_are_asked_for() -> None:
    of_plan = selector()
    names = ["usage:devices", "usage:watch_hours", "profile:months_active", "profile:monthly_fee", "profile:paperless"]
    kept = Programs(support.PROJECT, Metrics(), from_watermark=False)
    for number in range(programs.MOST * 3):
        asked = [names[number // 5**place % 5] for place in range(4)]
        _, program = kept.find(of_plan, None, list(dict.fromkeys(asked)), full_names=bool(number % 2))
        assert program is not None
    del program
    assert sum(isinstance(thing, Program) for thing in gc.get_objects()) <= programs.MOST

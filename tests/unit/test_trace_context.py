"""The trace of a request: taken over where a valid one is sent, new otherwise."""

import re

import pytest

from api import trace_context
from api.trace_context import Trace

SENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def of(value: bytes) -> Trace:
    return trace_context.of([(b"host", b"x"), (b"traceparent", value)])


@pytest.mark.parametrize("value", [SENT, SENT.replace(b"00-", b"cc-", 1) + b"-what-the-future-will-be"])
def test_a_trace_that_is_sent_is_taken_over_with_a_span_of_our_own(value: bytes) -> None:
    trace = of(value)
    assert (trace.trace_id, trace.flags) == (b"0af7651916cd43dd8448eb211c80319c", b"01")
    assert trace.span_id != b"b7ad6b7169203331"
    assert trace.header == b"00-0af7651916cd43dd8448eb211c80319c-%b-01" % trace.span_id


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"ff" + SENT[2:],
        b"00-" + b"0" * 32 + SENT[35:],
        SENT[:36] + b"0" * 16 + SENT[52:],
        SENT.upper(),
        SENT[:-1],
        SENT + b"\n",
        b"x" * 10_000,
    ],
)
def test_what_is_no_trace_is_left_alone_and_a_new_one_begins(value: bytes) -> None:
    trace = of(value)
    assert trace.trace_id not in value
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00", trace.header)


def test_no_two_requests_have_the_same_name() -> None:
    traces = [trace_context.of([]) for _ in range(1_000)]
    assert len({trace.trace_id for trace in traces}) == len({trace.span_id for trace in traces}) == 1_000

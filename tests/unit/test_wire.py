"""Replies are compared as the bytes they are, wherever they are cut, and read as replies where they differ."""

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from jobs.online.block import bulk
from jobs.online.wire import Wire

VALUES = st.lists(st.binary(max_size=50) | st.none(), min_size=1, max_size=4)


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the end at which Redis would be."""
    with pair() as (wire, there):
        yield wire, there


class pair:
    def __enter__(self) -> tuple[Wire, socket.socket]:
        self.here, self.there = socket.socketpair()
        self.here.settimeout(5)
        return Wire(SimpleNamespace(_sock=self.here)), self.there

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self.there.close()


def reply(values: list[bytes | None]) -> bytes:
    return b"*%d\r\n" % len(values) + b"".join(b"$-1\r\n" if value is None else bulk(value) for value in values)


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_equal_replies_do_not_differ_and_others_come_as_they_are(
    expected: list[list[bytes | None]], data: st.DataObject
) -> None:
    held = [data.draw(st.just(values) | VALUES) for values in expected]
    with pair() as (wire, there):
        there.sendall(b"".join(map(reply, held)) + b":7\r\n")
        differing = wire.differing(memoryview(b"".join(map(reply, expected))), len(expected))
        assert differing == (None if held == expected else held)
        if held == expected:
            assert wire.replies(1) == [7], "the next reply is where it was"


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_replies_that_are_not_equal_are_taken_whole_and_nothing_behind_them(
    expected: list[list[bytes | None]], data: st.DataObject
) -> None:
    held = [data.draw(st.just(values) | VALUES) for values in expected]
    with pair() as (wire, there):
        there.sendall(b":1\r\n:0\r\n" + b"".join(map(reply, held)) + b":7\r\n:8\r\n")
        assert wire.integers(2).tolist() == [1, 0]
        assert wire.equals(memoryview(b"".join(map(reply, expected))), len(expected)) == (held == expected)
        assert wire.integers(2).tolist() == [7, 8]


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50), st.data())
def test_integers_are_taken_and_nothing_behind_them_however_they_arrive(sent: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(sent)))
    text = b"".join(b":%d\r\n" % number for number in sent) + b":5"
    cut = data.draw(st.integers(0, len(text)))
    with pair() as (wire, there):
        there.sendall(text[:cut])
        sender = threading.Thread(target=there.sendall, args=[text[cut:] + b"6\r\n"])
        sender.start()
        assert wire.integers(count).tolist() == sent[:count]
        sender.join()
        assert wire.replies(len(sent) - count + 1) == [*sent[count:], 56]


def test_an_error_among_the_replies_is_raised(ends: tuple[Wire, socket.socket]) -> None:
    wire, there = ends
    there.sendall(b":1\r\n-OOM command not allowed\r\n")
    with pytest.raises(redis.ResponseError, match=r"^OOM command not allowed$"):
        wire.integers(2)
    there.sendall(b"-LOADING Redis is loading\r\n")
    with pytest.raises(redis.ResponseError, match="LOADING"):
        wire.differing(memoryview(b":1\r\n:1\r\n"), 2)
    there.sendall(b"*1\r\n$1\r\na\r\n-LOADING Redis is loading\r\n")
    with pytest.raises(redis.ResponseError, match="LOADING"):
        wire.equals(memoryview(b"*1\r\n$1\r\nb\r\n:1\r\n"), 2)


def test_a_connection_that_ends_before_the_replies_is_a_connection_error(ends: tuple[Wire, socket.socket]) -> None:
    wire, there = ends
    there.sendall(b":1\r\n")
    there.shutdown(socket.SHUT_WR)
    with pytest.raises(redis.ConnectionError):
        wire.integers(2)
    with pytest.raises(redis.ConnectionError):
        wire.differing(memoryview(b":1\r\n"), 1)


def test_a_redis_that_says_nothing_is_given_up(ends: tuple[Wire, socket.socket]) -> None:
    wire, _ = ends
    wire._socket.settimeout(0.01)
    with pytest.raises(redis.TimeoutError):
        wire.integers(1)

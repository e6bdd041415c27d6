"""Blocks of commands to Redis as they are, over connections that redis-py has opened: no Python object per command."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, cast

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

from jobs.online.store import Client, masters

RECEIVE_BYTES = 1 << 18
Rows = npt.NDArray[np.int64]


class Wire:
    """One connection. Every method raises redis.RedisError when Redis fails; the connection is of no use then."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket = connection._sock
        self._file = self._socket.makefile("rb", RECEIVE_BYTES)

    def send(self, commands: memoryview) -> None:
        """Send commands; Redis takes them also while nobody reads its replies."""
        with _told():
            self._socket.sendall(commands)

    def close(self) -> None:
        """Close the connection: one that failed half-way must not serve anybody else."""
        self._file.close()
        self._connection.disconnect()

    def integers(self, count: int) -> Rows:
        """The next `count` replies, which are integers. Raises redis.ResponseError for the first that is an error."""
        lines: list[bytes] = []
        while count:
            received = self._peek()
            taken = received if (ends := received.count(b"\n")) < count else _first_lines(received, count)
            lines.append(self._file.read(len(taken)))
            count -= min(ends, count)
        text = b"".join(lines)
        if not text.startswith(b":") or text.count(b"\n:") < text.count(b"\n") - 1:
            _raise_first([line for line in text.splitlines() if not line.startswith(b":")])
        return np.fromstring(text.replace(b":", b" "), np.int64, sep=" ")

    def replies(self, count: int) -> list[Any]:
        """The next `count` replies, behind which nothing comes. Raises redis.ResponseError for one that is an error."""
        return self._parsed(count, b"")

    def differing(self, expected: memoryview, count: int) -> list[Any] | None:
        """None when the next `count` replies are `expected`, byte for byte; else the replies.

        Nothing may come behind them. Raises redis.ResponseError for the first that is an error.
        """
        done = self._same(expected)
        return None if done == len(expected) else self._parsed(count, bytes(expected[:done]))

    def equals(self, expected: memoryview, count: int) -> bool:
        """Whether the next `count` replies are `expected`, byte for byte; they are taken, and nothing behind them.

        Raises redis.ResponseError for the first that is an error.
        """
        done = self._same(expected)
        if done < len(expected):
            self._skip(count, BytesIO(expected[:done]))
        return done == len(expected)

    def _same(self, expected: memoryview) -> int:
        """Take what comes for as long as it is expected; up to where it was."""
        done = 0
        while done < len(expected):
            received = self._peek()[: len(expected) - done]
            # No whole reply is the beginning of another, so what is equal up to here has not ended either.
            # As bytes: views are compared one element after the other.
            if received != bytes(expected[done : done + len(received)]):
                break
            self._file.read(len(received))
            done += len(received)
        return done

    def _parsed(self, count: int, taken: bytes) -> list[Any]:
        reader = hiredis.Reader(replyError=redis.ResponseError, notEnoughData=...)
        reader.feed(taken)
        found: list[Any] = []
        while len(found) < count:
            reply = reader.gets()
            if reply is ...:
                received = self._peek()
                reader.feed(received)
                self._file.read(len(received))
            elif isinstance(reply, redis.ResponseError):
                raise reply
            else:
                found.append(reply)
        return found

    def _skip(self, count: int, taken: BytesIO) -> None:
        """Take `count` replies, which begin with what was `taken` already."""
        while count:
            line = taken.readline()
            with _told():
                line += b"" if line.endswith(b"\n") else self._file.readline()
            if not line.endswith(b"\n"):
                raise redis.ConnectionError("the connection was closed")
            count -= 1
            if line.startswith(b"*"):
                count += int(line[1:])
            elif line.startswith(b"$") and line != b"$-1\r\n":
                length = int(line[1:]) + 2
                with _told():
                    self._file.read(length - len(taken.read(length)))
            else:
                _raise_first([line] if line.startswith(b"-") else [])

    def _peek(self) -> bytes:
        with _told():
            received: bytes = self._file.peek(1)
        if not received:
            raise redis.ConnectionError("the connection was closed")
        return received


def _first_lines(text: bytes, count: int) -> bytes:
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return text[: ends[count - 1] + 1]


def _raise_first(errors: list[bytes]) -> None:
    if errors:
        raise redis.ResponseError(errors[0].strip().removeprefix(b"-").decode(errors="replace"))


class Wires:
    """A connection to each Redis that holds a part of the keys: the one, or every master of a cluster."""

    def __init__(self, client: Client) -> None:
        self._cluster = cast("RedisCluster | None", client if isinstance(client, RedisCluster) else None)
        self._pools = {name: one.connection_pool for name, one in masters(client).items()}
        self._wires: dict[str, Wire] = {}

    def split(self, keys: pa.Array) -> Iterator[tuple[Wire, Rows | None]]:
        """For each connection the rows of `keys` that it holds; None for all of them."""
        if self._cluster is None:
            yield self._wire(""), None
            return
        slots = self._cluster.nodes_manager.slots_cache
        names = np.array([slots[key_slot(key)][0].name for key in keys.to_pylist()])
        for name in np.unique(names):
            yield self._wire(str(name)), np.flatnonzero(names == name)

    def all(self) -> list[Wire]:
        """The connection to each."""
        return [self._wire(name) for name in self._pools]

    def close(self) -> None:
        """Close the connections."""
        for wire in self._wires.values():
            wire.close()

    def _wire(self, name: str) -> Wire:
        if name not in self._wires:
            self._wires[name] = Wire(self._pools[name].get_connection())
        return self._wires[name]


@contextmanager
def opened_wires(client: Client) -> Iterator[Wires]:
    """Connections of our own to the Redis of `client`, closed at the end."""
    wires = Wires(client)
    try:
        yield wires
    finally:
        wires.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise redis.TimeoutError("Redis did not answer in time") from error
    except OSError as error:
        raise redis.ConnectionError(str(error)) from error

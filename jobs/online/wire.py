"""Blocks of commands to Redis as they are, over connections that redis-py has opened: no Python object per command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

from jobs.online.store import Client

RECEIVE_BYTES = 1 << 18
Rows = npt.NDArray[np.int64]


class Wire:
    """One connection. Every method raises redis.RedisError when Redis fails; the connection is of no use then."""

    def __init__(self, connection: Any) -> None:
        self._socket = connection._sock

    def send(self, commands: memoryview) -> None:
        """Send commands; Redis takes them also while nobody reads its replies."""
        with _told():
            self._socket.sendall(commands)

    def replies(self, count: int) -> list[Any]:
        """The next `count` replies. Raises redis.ResponseError for the first that is an error."""
        return self._parsed(count, b"")

    def differing(self, expected: memoryview, count: int) -> list[Any] | None:
        """None when the next `count` replies are `expected`, byte for byte; else the replies.

        Raises redis.ResponseError for the first that is an error.
        """
        received = b""
        done = 0
        while done < len(expected):
            with _told():
                received = self._socket.recv(min(RECEIVE_BYTES, len(expected) - done))
            if not received:
                raise redis.ConnectionError("the connection was closed")
            # No whole reply is the beginning of another, so what is equal up to here has not ended either.
            # As bytes: views are compared one element after the other.
            if received != bytes(expected[done : done + len(received)]):
                return self._parsed(count, bytes(expected[:done]) + received)
            done += len(received)
        return None

    def _parsed(self, count: int, received: bytes) -> list[Any]:
        reader = hiredis.Reader(replyError=redis.ResponseError, notEnoughData=...)
        reader.feed(received)
        found: list[Any] = []
        while len(found) < count:
            reply = reader.gets()
            if reply is ...:
                with _told():
                    data = self._socket.recv(RECEIVE_BYTES)
                if not data:
                    raise redis.ConnectionError("the connection was closed")
                reader.feed(data)
            elif isinstance(reply, redis.ResponseError):
                raise reply
            else:
                found.append(reply)
        return found


class Wires:
    """A connection to each Redis that holds a part of the keys: the one, or every master of a cluster."""

    def __init__(self, client: Client) -> None:
        self._cluster = cast("RedisCluster | None", client if isinstance(client, RedisCluster) else None)
        clients = {"": client} if self._cluster is None else {
            node.name: self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()
        }  # fmt: skip
        self._pools = {name: one.connection_pool for name, one in clients.items()}
        self._open: dict[str, Any] = {}

    def split(self, keys: pa.Array) -> Iterator[tuple[Wire, Rows | None]]:
        """For each connection the rows of `keys` that it holds; None for all of them."""
        if self._cluster is None:
            yield self._wire(""), None
            return
        slots = self._cluster.nodes_manager.slots_cache
        names = np.array([slots[key_slot(key)][0].name for key in keys.to_pylist()])
        for name in np.unique(names):
            yield self._wire(str(name)), np.flatnonzero(names == name)

    def close(self) -> None:
        """Close the connections: one that failed half-way must not serve anybody else."""
        for connection in self._open.values():
            connection.disconnect()

    def _wire(self, name: str) -> Wire:
        if name not in self._open:
            self._open[name] = self._pools[name].get_connection()
        return Wire(self._open[name])


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

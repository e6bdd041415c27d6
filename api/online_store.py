"""What the gateway needs of the online store, whatever Redis it is."""

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from api.problems import Internal, OnlineStoreUnavailable, Problem
from api.redis_connection import Connection

logger = logging.getLogger("api.online_store")
DEADLINE = 0.25
AWAY = "The online store is away, or did not answer within 250 ms."
NO_HASH = "The online store holds something that is no hash of features under a key of what was asked for."
# A batch is read in parts of this many hashes, so that each part fits the deadline and others get their turn.
PART = 200
QUIET_SECONDS = 1.0

HashReply = list[bytes | None]


class TimeLeft:
    """What the online store may still take for one call, in seconds: at first the deadline for each part of its hashes.

    What the gateway takes itself does not count.
    """

    __slots__ = ("seconds",)

    def __init__(self, hashes: int, spent: float = 0.0) -> None:
        self.seconds = DEADLINE * (-(-hashes // PART) or 1) - spent


class HashFields:
    """Fields to read from a hash, and the command that reads them but for the key (HMGET, in RESP 2)."""

    __slots__ = ("head", "names", "tail")

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = tuple(names)
        self.head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(self.names))
        self.tail = b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in self.names)

    def command(self, key: bytes) -> bytes:
        """The whole command."""
        return b"%b$%d\r\n%b%b" % (self.head, len(key), key, self.tail)


HashRead = tuple[bytes, HashFields]


class OnlineStore(Protocol):
    """Every call ends within 250 ms a part, or raises OnlineStoreUnavailable (Overloaded: at once)."""

    @property
    def reached(self) -> bool:
        """Whether the last call was answered; False before the first."""

    @property
    def connection(self) -> Connection | None:
        """The connection by which every hash can be read now, if there is such a one and it is not overloaded."""

    def lost(self, error: Exception) -> Problem:
        """Note that a read by that connection failed; what to answer."""

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """One reply for each (key, fields), in their order; None for a field that is not there."""

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """All fields of the hash; empty if there is none."""

    async def close(self) -> None:
        """Close the connections."""


class Reachability:
    """Whether the store was reached last. Its loss is logged once, and its return once nothing failed for a second.

    So a cluster of which some nodes are away, and which answers and fails by turns, does not fill the log.
    """

    def __init__(self) -> None:
        self.reached = False
        self._was_lost, self._lost_at = False, 0.0

    def lost(self, error: Exception) -> Problem:
        """Note a failure; what to raise for it."""
        if "WRONGTYPE" in str(error):
            return Internal(NO_HASH)
        self.reached, self._lost_at = False, monotonic()
        if not self._was_lost:
            self._was_lost = True
            logger.warning("online_store_unreachable", extra={"fields": {"error": f"{type(error).__name__}: {error}"}})
        return OnlineStoreUnavailable(AWAY)

    def found(self) -> None:
        """Note an answer."""
        self.reached = True
        if self._was_lost and monotonic() >= self._lost_at + QUIET_SECONDS:
            self._was_lost = False
            logger.info("online_store_reached_again")

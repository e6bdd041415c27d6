"""Whether what a materialization is to write fits into Redis, found out before its first write.

The rule: MARGIN times what the hashes of the entities will grow by must be left below `maxmemory`, on each master its
share. A part of the entities is counted, and Redis itself measures some of these: how it lays a hash out differs by
version, settings and allocator. What leaves makes no room, for it is removed last.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import redis
from redis.cluster import RedisCluster

from jobs.arrow_query import ArrowSession
from jobs.background import ahead_of
from jobs.ending import first_line, is_full
from jobs.errors import DataError
from jobs.instants import isoformat
from jobs.online.block import Block, bulks, command
from jobs.online.block_encoder import BlockEncoder
from jobs.online.columns import binaries, constant, content, join
from jobs.online.correction import parsed
from jobs.online.current_rows import Partition, current_entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.store import Client, masters
from jobs.online.wire import Wire, Wires, opened_wires

MARGIN = 1.15
"""For what a sample cannot tell, and for what connections need meanwhile."""
PARTITIONS = (64, 8, 1)
"""Of so many one is looked at; of fewer, where that one has less than ENOUGH entities."""
ENOUGH = 1000
MEASURED = 200
"""Of a batch so many entities that are held are measured, and so many that are not."""
PLACE_BYTES = 16
"""What a key takes in Redis' table of keys, which MEMORY USAGE leaves out: 8 bytes a place, up to two places a key."""
BATCHES_AHEAD = 2
Log = Callable[..., None]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Room:
    """A master with a limit."""

    name: str
    """Host and port; nothing where there is but one."""
    share: float
    """How much of all keys it holds."""
    used: int
    limit: int

    @property
    def left(self) -> int:
        """In bytes."""
        return max(0, self.limit - self.used)

    def part(self, needed: int) -> int:
        """What it must take of what all need."""
        return round(needed * self.share)

    def check(self, needed: int, as_of: datetime) -> None:
        """Raises DataError when it cannot take its part of `needed` bytes."""
        if not self.left or self.part(needed) > self.left:
            raise self.refusal(needed, as_of)

    def refusal(self, needed: int, as_of: datetime) -> DataError:
        """Why nothing was begun."""
        where = f"Redis at {self.name}" if self.name else "Redis"
        what = f"about {_size(self.part(needed))} more" if needed else "room"
        return DataError(
            f"the features as of {isoformat(as_of)} need {what} in {where}, and {_size(self.left)} of its maxmemory of "
            f"{_size(self.limit)} are left; nothing was changed. Raise maxmemory, or remove what else is kept there, "
            "then run it again"
        )


def check_memory(
    client: Client,
    session: Callable[[], AbstractContextManager[ArrowSession]],
    groups: Sequence[EntityGroup],
    as_of: datetime,
    log: Log,
) -> None:
    """Return where the entities of `groups` fit into Redis, and where nobody can say, which is logged.

    `session` opens one in the offline store; it is not called where Redis has no limit. Raises DataError where they do
    not fit.
    """
    rooms: list[Room] = []
    try:
        rooms = _rooms(client, log)
        for room in rooms:
            room.check(0, as_of)
        if not rooms:
            return
        with opened_wires(client) as wires, session() as opened:
            growth = [max(0.0, Growth(wires, group).of_all(opened, as_of)) for group in groups]
        needed = round(MARGIN * sum(growth))
    except redis.ResponseError as error:
        if is_full(error):  # it took not even what was to be measured
            raise min(rooms, key=attrgetter("left")).refusal(0, as_of) from error
        # A Redis of somebody's own, which does not let us ask. What it does not take is seen when it is written.
        log("memory_not_checked", reason=first_line(error))
        return
    for room in rooms:
        log("memory_checked", redis=room.name, needed=room.part(needed), left=room.left, maxmemory=room.limit)
        room.check(needed, as_of)


def _rooms(client: Client, log: Log) -> list[Room]:
    """The masters with a limit; none where one drops others' keys to make room, so that what is left says nothing."""
    rooms, shares = [], _shares(client)
    for name, master in masters(client).items():
        memory: Any = master.info("memory")
        limit, policy = memory.get("maxmemory", 0), memory.get("maxmemory_policy", "")
        if not limit or name not in shares:
            continue
        if policy.startswith("volatile") and _has_expiring_keys(master):
            log("memory_not_checked", reason=f"by its maxmemory-policy {policy} Redis drops what expires to make room")
            return []
        if policy.startswith("allkeys"):
            log("features_may_be_dropped", redis=name, maxmemory_policy=policy, right="noeviction")
        used = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
        rooms.append(Room(name, shares[name], used, limit))
    return rooms


def _shares(client: Client) -> dict[str, float]:
    """By master how much of all keys it holds: keys are spread evenly over a cluster's slots."""
    if not isinstance(client, RedisCluster):
        return {"": 1.0}
    slots = Counter(nodes[0].name for nodes in client.nodes_manager.slots_cache.values())
    return {name: count / slots.total() for name, count in slots.items()}


def _size(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"


def _has_expiring_keys(master: Client) -> bool:
    databases: Any = master.info("keyspace")
    return any(database["expires"] for database in databases.values())


class Growth:
    """How much more memory the hashes of a group's entities take, once all of them are as the offline store says."""

    def __init__(self, wires: Wires, group: EntityGroup) -> None:
        self._wires, self._group = wires, group
        self._scratch = f"feature-platform:{group.project}:memory".encode()
        ((self._measuring, _),) = wires.split(binaries([self._scratch]))
        self._random = np.random.default_rng()

    def of_all(self, session: ArrowSession, as_of: datetime) -> float:
        """In bytes. Raises JobError and redis.RedisError."""
        entities, growth = 0, 0.0
        for count in PARTITIONS if self._group.join_keys else PARTITIONS[-1:]:
            entities, growth = self._of_partition(session, as_of, Partition(0, count))
            if entities >= ENOUGH:
                return growth * count
        return growth

    def _of_partition(self, session: ArrowSession, as_of: datetime, partition: Partition) -> tuple[int, float]:
        entities, growth = 0, 0.0
        encoder = BlockEncoder(self._group)
        rows = session.batches(current_entities_query(self._group.views, as_of, partition))
        with ahead_of(rows, BATCHES_AHEAD, session.cancel) as batches:
            for block in (encoder.encode(batch) for batch in batches if batch.num_rows):
                entities += len(block.keys)
                for wire, some in self._wires.split(block.keys):
                    growth += self._of_block(wire, block if some is None else block.take(some))
        return entities, growth

    def _of_block(self, wire: Wire, block: Block) -> float:
        wire.send(content(join(constant(b"*2\r\n$6\r\nEXISTS\r\n"), bulks(block.keys))))
        is_held = wire.integers(len(block.keys)) > 0
        return self._of_rows(wire, block, np.flatnonzero(~is_held)) + self._of_rows(
            wire, block, np.flatnonzero(is_held)
        )

    def _of_rows(self, wire: Wire, block: Block, rows: Rows) -> float:
        if not len(rows):
            return 0.0
        some = block.take(np.sort(self._random.choice(rows, min(MEASURED, len(rows)), replace=False)))
        wire.send(content(some.whole_reads))
        held = wire.replies(len(some.keys))
        each = [self._measurement(*one) for one in zip(held, parsed(some.held), strict=True)]
        self._measuring.send(memoryview(b"".join(command(*parts) for commands in each for parts in commands)))
        replies = self._measuring.replies(sum(map(len, each)))
        done = [replies[end - 1] for end in accumulate(map(len, each))]  # what EXEC says
        longer = [len(key) - len(self._scratch) for key in some.keys.to_pylist()]
        grown = [
            sizes[-2] - sizes[1] if is_held else sizes[-2] + more + PLACE_BYTES
            for is_held, sizes, more in zip(held, done, longer, strict=True)
        ]
        return float(np.mean(grown)) * len(rows)

    def _measurement(self, held: list[bytes], wanted: list[bytes | None]) -> list[list[bytes]]:
        """Commands that make an entity's hash beside it and remove it, in one go: nobody ever meets it.

        What EXEC says of them has the size of what is held as the second one, and that of what shall be as the last
        but one.
        """
        key, fields = self._scratch, self._group.fields
        usage = [b"MEMORY", b"USAGE", key, b"SAMPLES", b"0"]
        pairs = [
            part for field, value in zip(fields, wanted, strict=True) if value is not None for part in (field, value)
        ]
        gone = [field for field, value in zip(fields, wanted, strict=True) if value is None]
        first = [[b"HSET", key, *held], usage] if held else []
        removal = [[b"HDEL", key, *gone]] if gone else []
        whole = [[b"HSET", key, *pairs], *removal, usage]
        return [[b"MULTI"], *first, *whole, [b"HDEL", key, *{*held[::2], *fields}], [b"EXEC"]]

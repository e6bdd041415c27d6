"""Which entities the online store holds: a scan of Redis' keys."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.online.block import command
from jobs.online.columns import binaries, booleans, content, ends_of, flags, numbers_at
from jobs.online.encoded_column import Flags
from jobs.online.store import Client
from jobs.online.wire import Wire, opened_wires

COUNT = 1000
"""About so many keys Redis looks at in one go, in which it answers nobody else."""
BATCH = 10_000
"""About so many keys are looked at together."""
_GLOB_SPECIAL = frozenset(b"*?[]\\^-")
_HEAD_BYTES = 8
FIRST = b"0"
"""The cursor that begins a scan, and the one that ends it."""


def entity_keys(client: Client, project: str, prefix: bytes) -> Iterator[pa.Array]:
    """The keys of all entities of `project` whose entity key starts with `prefix`, in batches of binary values.

    `prefix` is that of `entity_key_prefix`, or empty for any. Redis may hand out a key twice while its table is
    resized. Raises redis.RedisError.
    """
    pattern = _literally(prefix) + b"*" + _literally(project.encode())
    with opened_wires(client) as wires:
        for wire in wires.all():
            for keys in _scan(wire, pattern):
                # One project's name may be the end of another's.
                if len(found := keys.filter(booleans(are_of_project(keys, project, prefix)))):
                    yield found


def are_of_project(keys: pa.Array, project: str, prefix: bytes = b"") -> Flags:
    """Which Redis keys, all of which start with `prefix`, are the entity key of an entity of `project`."""
    ends = ends_of(keys)
    starts, ends = ends[:-1] - ends[0], ends[1:] - ends[0]
    numbers = numbers_at(content(keys), "<u4", _HEAD_BYTES)  # looked for also where a key has ended
    parts = numbers[starts].astype(np.int64)
    at = starts + len(prefix) if prefix else starts + 4
    if not prefix:
        parts *= 2  # the names, then the values
    while (goes_on := (parts > 0) & (at < ends)).any():
        length = numbers[np.minimum(at + 4, ends)]
        at = np.where(goes_on, at + _HEAD_BYTES + length, at)
        parts -= goes_on
    found: Flags = (parts == 0) & (ends - at == len(project.encode())) & flags(pc.ends_with(keys, pattern=project))
    return found


def _scan(wire: Wire, pattern: bytes) -> Iterator[pa.Array]:
    """What matches, as Redis hands it out; it looks for more while that is used."""

    def look(cursor: bytes) -> None:
        wire.send(memoryview(command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % COUNT)))

    look(FIRST)
    found: list[bytes] = []
    while True:
        ((cursor, keys),) = wire.replies(1)
        if cursor != FIRST:
            look(cursor)
        found += keys
        if len(found) >= BATCH or cursor == FIRST:
            yield binaries(found)
            found = []
        if cursor == FIRST:
            return


def _literally(text: bytes) -> bytes:
    """The glob pattern of this text and no other."""
    return b"".join(b"\\" + bytes([byte]) if byte in _GLOB_SPECIAL else bytes([byte]) for byte in text)

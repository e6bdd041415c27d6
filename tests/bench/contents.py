"""What an online store holds of entities, as the commands that would write it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.bench.world import World

BATCH = 1_000
SHOWN = 3


def commands(world: World) -> Iterator[tuple[bytes, bytes]]:
    """Each entity's key, and the HSET of all its fields in their order. The platform's own keys are no entities'."""
    for keys in _batches(world.entity_keys()):
        pipeline = world.client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        for key, fields in zip(keys, pipeline.execute(), strict=True):
            yield key, command(b"HSET", key, *(part for field in sorted(fields) for part in (field, fields[field])))


def write_commands(world: World, file: Path) -> tuple[int, int]:
    """Write them one after the other; returns how many there are, and of how many rows, each one of a view."""
    count = rows = 0
    with file.open("wb") as output:
        for _, text in commands(world):
            output.write(text)
            count += 1
            rows += text.count(b"\r\n_ts:")
    return count, rows


def command(*parts: bytes) -> bytes:
    """As Redis' protocol has it."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def require_equal(ours: Mapping[bytes, bytes], theirs: Mapping[bytes, bytes], what: str) -> None:
    """RuntimeError, with some of the keys, unless both hold the same entities, equal field by field."""
    different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if different or not ours:
        shown = ", ".join(map(repr, different[:SHOWN]))
        raise RuntimeError(f"{what} differ in {len(different):,} of {len(ours):,} entities: {shown}")


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for key in keys:
        batch.append(key)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

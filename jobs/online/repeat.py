"""Whether the online store still shows what a former materialization left, found without reading all of it."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from jobs.arrow_query import ArrowSession
from jobs.online.block import command
from jobs.online.block_encoder import BlockEncoder
from jobs.online.columns import binaries
from jobs.online.current_rows import current_entities_query
from jobs.online.encoding import entity_key_values
from jobs.online.entity_group import EntityGroup
from jobs.online.key_scan import entity_keys
from jobs.online.reading_back import are_as_held
from jobs.online.store import Client
from jobs.online.wire import Wires

SAMPLE = 1000
"""So many entities of a group are read and compared, others each time."""


def former_details(ledger: psycopg.Connection, run_id: int) -> Mapping[str, Any] | None:
    """What the ledger remembers of the materialization `run_id`; None when there is no such success."""
    query = "SELECT details FROM ledger.runs WHERE run_id = %s AND job = 'materialize' AND state = 'succeeded'"
    row = ledger.execute(query, [run_id]).fetchone()
    return None if row is None else row[0]


def still_shows(
    client: Client, wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, keys: int
) -> bool:
    """Whether there are as many keys with the group's join keys as `keys`, and SAMPLE of them hold what Postgres says.

    Of the group's views, that is; a key may be there for others.
    """
    found, sample = 0, list[bytes]()
    for batch in entity_keys(client, group.project, group.prefix):
        found += len(batch)
        sample += random.sample(batch.to_pylist(), min(len(batch), math.ceil(len(batch) * SAMPLE / max(keys, 1))))
    return found == keys and (not sample or _are_as_in_postgres(wires, session, group, as_of, sample))


def _are_as_in_postgres(
    wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, sample: Sequence[bytes]
) -> bool:
    types = [key.type for key in group.join_keys]
    values = [entity_key_values(key, len(group.prefix), types) for key in sample]
    encoder, rest = BlockEncoder(group), set(sample)
    for batch in session.batches(current_entities_query(group.views, as_of, keys=values)):
        block = encoder.encode(batch)
        if not are_as_held(wires, block):
            return False
        rest.difference_update(block.keys.to_pylist())
    return all(not _holds_any(wires, group, key) for key in rest)


def _holds_any(wires: Wires, group: EntityGroup, key: bytes) -> bool:
    """Whether there is a field of the group's views under the key."""
    ((wire, _),) = wires.split(binaries([key]))
    wire.send(memoryview(command(b"HMGET", key, *group.fields)))
    (values,) = wire.replies(1)
    return any(value is not None for value in values)

"""Whether the online store still shows what a former materialization left, found without reading all of it."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from jobs.arrow_query import ArrowSession
from jobs.online.block_encoder import BlockEncoder
from jobs.online.columns import content
from jobs.online.current_rows import current_entities_query
from jobs.online.encoding import entity_key_values
from jobs.online.entity_group import EntityGroup
from jobs.online.key_scan import entity_keys
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
    """Whether there are as many keys of the group as `keys`, and SAMPLE of them hold what Postgres says."""
    types = [key.type for key in group.join_keys]
    if "UNIX_TIMESTAMP" in types:  # whole seconds, by which the row in Postgres cannot be found again
        return False
    found, sample = 0, list[bytes]()
    for batch in entity_keys(client, group.project, group.prefix):
        found += len(batch)
        sample += random.sample(batch.to_pylist(), min(len(batch), math.ceil(len(batch) * SAMPLE / max(keys, 1))))
    values = [entity_key_values(key, len(group.prefix), types) for key in sample]
    return found == keys and (not values or _are_as_in_postgres(wires, session, group, as_of, values))


def _are_as_in_postgres(
    wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, values: Sequence[tuple[Any, ...]]
) -> bool:
    encoder, entities = BlockEncoder(group), 0
    for batch in session.batches(current_entities_query(group.views, as_of, keys=values)):
        block = encoder.encode(batch)
        entities += len(block.keys)
        for wire, rows in wires.split(block.keys):
            part = block if rows is None else block.take(rows)
            wire.send(content(part.reads))
            if wire.differing(content(part.held), len(part.keys)) is not None:
                return False
    return entities == len(values)

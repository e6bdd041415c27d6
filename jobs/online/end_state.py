"""Proof that the online store shows what the offline store says, after the last write: whole entities, read afresh."""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobs.arrow_query import ArrowSession
from jobs.errors import VerificationError
from jobs.online.block_encoder import BlockEncoder
from jobs.online.current_rows import Partition, current_entities_query, entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.reading_back import are_as_held
from jobs.online.wire import Wires

SAMPLE = 1000
"""About so many entities of a group are compared, others each time."""


def prove_end_state(
    wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, sample_of: int | None
) -> int:
    """How many entities were compared, all fields of the group's views of each.

    All of them, or about SAMPLE of so many as `sample_of`, drawn by chance. Raises VerificationError unless Redis holds
    of them what `session` reads, and nothing else of these views.
    """
    keys = None if sample_of is None else _drawn(session, group, as_of, max(1, sample_of // SAMPLE))
    if keys == []:
        return 0
    encoder, compared = BlockEncoder(group), 0
    for batch in session.batches(current_entities_query(group.views, as_of, keys=keys)):
        block = encoder.encode(batch)
        if not are_as_held(wires, block):
            names = ", ".join(view.name for view in group.views)
            raise VerificationError(
                f"after the last write the online store does not show what the offline store holds ({names}); "
                "something else writes there. Run it again"
            )
        compared += len(block.keys)
    return compared


def _drawn(session: ArrowSession, group: EntityGroup, as_of: datetime, one_of: int) -> Sequence[tuple[Any, ...]] | None:
    """The keys of about one of so many entities that a view, drawn too, has rows of; None where there are no keys."""
    if not group.join_keys:
        return None
    partition = Partition(0, one_of, random.getrandbits(62) + 1)
    (view,) = random.sample(group.views, 1)
    query = entities_query(view, as_of, partition)
    return [tuple(row.values()) for batch in session.batches(query) for row in batch.to_pylist()]

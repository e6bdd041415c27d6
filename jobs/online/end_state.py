"""Proof that the online store shows what the offline store says, after the last write: whole entities, read afresh."""

import random
from collections.abc import Sequence
from datetime import datetime

from jobs.arrow_query import ArrowSession
from jobs.errors import VerificationError
from jobs.online.block_encoder import BlockEncoder
from jobs.online.current_rows import Partition, current_entities_query, entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.key_sample import SAMPLE, Key
from jobs.online.reading_back import are_as_held
from jobs.online.wire import Wires


def prove_end_state(
    wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, keys: Sequence[Key] | None
) -> int:
    """How many entities were compared, all fields of the group's views of each: those with these keys, or all.

    Raises VerificationError unless Redis holds of them what `session` reads, and nothing else of these views.
    """
    if keys is not None and not keys:
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


def drawn_keys(session: ArrowSession, group: EntityGroup, as_of: datetime, entities: int) -> list[Key]:
    """The keys of about SAMPLE of so many entities that a view of the group, drawn too, has rows of."""
    partition = Partition(0, max(1, entities // SAMPLE), random.getrandbits(62) + 1)
    (view,) = random.sample(group.views, 1)
    query = entities_query(view, as_of, partition)
    return [tuple(row.values()) for batch in session.batches(query) for row in batch.to_pylist()]

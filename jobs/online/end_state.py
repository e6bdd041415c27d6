"""Proof that the online store shows what the offline store says, after the last write: whole entities, read afresh."""

import math
import random
from datetime import datetime

from jobs.arrow_query import ArrowSession
from jobs.errors import VerificationError
from jobs.online.block_encoder import BlockEncoder
from jobs.online.current_rows import ALL, Partition, current_entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.reading_back import are_as_held
from jobs.online.wire import Wires

SAMPLE = 1000
"""About so many entities of a group are compared, others each time."""


def a_sample(entities: int) -> Partition:
    """About SAMPLE of so many entities, drawn by chance; all of them where they are no more."""
    return Partition(0, max(1, math.floor(entities / SAMPLE)), random.getrandbits(62))


def prove_end_state(
    wires: Wires, session: ArrowSession, group: EntityGroup, as_of: datetime, partition: Partition = ALL
) -> int:
    """How many entities of `partition` were compared, all fields of the group's views of each.

    Raises VerificationError unless Redis holds of them what `session` reads, and nothing else of these views.
    """
    encoder, compared = BlockEncoder(group), 0
    for batch in session.batches(current_entities_query(group.views, as_of, partition)):
        block = encoder.encode(batch)
        if not are_as_held(wires, block):
            names = ", ".join(view.name for view in group.views)
            raise VerificationError(
                f"after the last write the online store does not show what the offline store holds ({names}); "
                "something else writes there. Run it again"
            )
        compared += len(block.keys)
    return compared

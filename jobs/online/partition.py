"""One partition of a materialization: from Postgres to Redis as a stream, each block proven."""

from collections.abc import Callable, Generator, Iterable

import pyarrow as pa

from jobs.arrow_query import ArrowSession
from jobs.background import ahead_of
from jobs.online.block import Block
from jobs.online.block_encoder import BlockEncoder
from jobs.online.correction import Correction
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.load import Load
from jobs.online.wire import Wires

# So many batches may wait before the encoder, and so many blocks, each of them larger, before the writer: the bound of
# what is in memory. Postgres is to be done while Redis still is not.
BATCHES_AHEAD = 8
BLOCKS_AHEAD = 2


def fill(
    group: EntityGroup,
    session: ArrowSession,
    rows: Generator[pa.RecordBatch, None, None],
    wires: Wires,
    writer: Load | Correction,
    advance: Callable[[int], object],
) -> Filled:
    """Write the entities that `session` reads as `rows`, with the columns of `current_entities_query`.

    Returns what was done; `advance` is told of rows as they are written.

    Raises DataError for a value that does not fit, VerificationError when Redis does not hold what was written.
    """
    filled = Filled.nothing(len(group.views))
    with (
        ahead_of(rows, BATCHES_AHEAD, session.cancel) as batches,
        ahead_of(_encoded(batches, BlockEncoder(group)), BLOCKS_AHEAD, session.cancel) as blocks,
    ):
        for block in blocks:
            for wire, part in wires.split(block.keys):
                writer.write(wire, block if part is None else block.take(part), filled)
            rows_of_views = block.is_present.sum(axis=0)
            filled.rows += rows_of_views
            filled.digests += block.digests
            filled.defaulted += block.defaulted
            filled.keys.frombytes(block.key_hashes.tobytes())
            advance(int(rows_of_views.sum()))
        writer.finish(filled)
    return filled


def _encoded(batches: Iterable[pa.RecordBatch], encoder: BlockEncoder) -> Generator[Block, None, None]:
    for batch in batches:
        if batch.num_rows:
            yield encoder.encode(batch)

"""An answer, piece by piece: held small until its caller has read it."""

import zlib
from collections.abc import Iterator, Sequence

from starlette.types import Send

from api.memory_share import Budget, Share
from api.problems import Overloaded, TooLarge
from api.turns import Turns

# What a cell takes while its answer is made: as the online store sent it, as JSON, or in a column of Feast's protocol.
CELL_BYTES = 64
# An answer of up to so many bytes takes nothing of what all share; the others wait so long for room.
ALWAYS_MADE, WAIT_SECONDS = 64 * 1024, 5.0
# From this size on it is kept compressed: mostly to a tenth, by so much at a time.
LARGE, PACKED_AT_ONCE = 1024 * 1024, 256 * 1024
# What the connection is given at a time, when its caller has read what came before.
PART_BYTES = 64 * 1024


class Pieces:
    """The body of one answer: whole, or a Problem, before its first byte is sent."""

    __slots__ = (
        "_beside", "_budget", "_length", "_packed", "_packed_bytes", "_packer", "_plain", "_plain_bytes", "_share",
    )  # fmt: skip

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._share: Share | None = None
        self._plain: list[bytes] = []
        self._packed: list[bytes] = []
        self._plain_bytes = self._packed_bytes = self._beside = self._length = 0
        self._packer: zlib._Compress | None = None

    async def reserve(self, cells: int) -> None:
        """Wait until there is room to make an answer of so many cells; Overloaded if that takes too long."""
        self._beside = min(cells * CELL_BYTES, self._budget.size)
        if self._beside > ALWAYS_MADE:
            self._share = Share(self._budget, ALWAYS_MADE)
            await self._share.wait(self._beside, WAIT_SECONDS)

    def hold_beside(self, count: int) -> None:
        """So many bytes are held of it that are not added yet; TooLarge or Overloaded if there is no room for them."""
        self._beside = max(self._beside, count)
        self._hold()

    def add(self, piece: bytes) -> None:
        """The next piece; TooLarge or Overloaded if there is no room for it."""
        self._plain.append(piece)
        self._plain_bytes += len(piece)
        self._length += len(piece)
        if self._length > LARGE and self._plain_bytes > PACKED_AT_ONCE:
            self._pack()
        self._hold()

    async def send(self, send: Send, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send it with these headers, as fast as its caller reads."""
        if self._share is not None:
            self._beside = 0
            self._hold()
        whole = [(b"content-length", b"%d" % self._length), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": whole})
        left = self._length
        if left <= PART_BYTES:
            await send({"type": "http.response.body", "body": b"".join(self._plain)})
            return
        turns = Turns()
        for part in self._parts():
            left -= len(part)
            if turns.is_over():
                await turns.wait()
            await send({"type": "http.response.body", "body": part, "more_body": left > 0})

    def end(self) -> None:
        """It is sent, or given up."""
        if self._share is not None:
            self._share.end()

    def _hold(self) -> None:
        count = max(self._beside, self._plain_bytes + self._packed_bytes)
        if self._share is None:
            if count <= ALWAYS_MADE:
                return
            self._share = Share(self._budget, ALWAYS_MADE)
        if self._share.hold(count):
            return
        if count > self._budget.size:
            raise TooLarge("The answer is larger than the gateway may hold; ask for fewer entities or features.")
        raise Overloaded("The gateway holds as many large answers as it may; try again.")

    def _pack(self) -> None:
        self._packer = self._packer or zlib.compressobj(1)
        for piece in self._plain:
            self._keep(self._packer.compress(piece))
        self._plain.clear()
        self._plain_bytes = 0

    def _keep(self, packed: bytes) -> None:
        if packed:
            self._packed.append(packed)
            self._packed_bytes += len(packed)

    def _parts(self) -> Iterator[bytes]:
        part = bytearray()
        for piece in self._plain if self._packer is None else self._unpacked(self._packer):
            part += piece
            while len(part) > PART_BYTES:
                yield bytes(part[:PART_BYTES])
                del part[:PART_BYTES]
        yield bytes(part)

    def _unpacked(self, packer: "zlib._Compress") -> Iterator[bytes]:
        self._pack()
        self._keep(packer.flush())
        unpacker = zlib.decompressobj()
        for packed in self._packed:
            while packed:
                yield unpacker.decompress(packed, PART_BYTES)
                packed = unpacker.unconsumed_tail
        yield unpacker.flush()

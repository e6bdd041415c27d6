"""What a request is called across services: W3C Trace Context (https://www.w3.org/TR/trace-context/).

Whoever sends a valid `traceparent` gets its trace id back, and finds it in our log; whoever sends none gets a new one.
"""

import re
import secrets
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

HEADER = b"traceparent"
# A version that is not known yet may say more behind what it says as this one does.
_SENT = re.compile(rb"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_PREFIX = secrets.token_hex(8).encode()
# Counted, not drawn: a request needs a name that no other one has, and it costs a tenth.
_numbers = count(secrets.randbits(62) + 1)


class Trace(NamedTuple):
    """One request in its trace."""

    trace_id: bytes
    """32 hexadecimal digits."""
    span_id: bytes
    """16 hexadecimal digits: this request at the gateway."""
    flags: bytes

    @property
    def header(self) -> bytes:
        """The value of `traceparent`."""
        return b"00-%b-%b-%b" % self


def of(headers: Sequence[tuple[bytes, bytes]]) -> Trace:
    """The trace of the request that came with these headers (names in lower case)."""
    number = b"%016x" % next(_numbers)
    for name, value in headers:
        if name == HEADER:
            sent = _SENT.fullmatch(value)
            return Trace(_PREFIX + number, number, b"00") if sent is None else Trace(sent[1], number, sent[3])
    return Trace(_PREFIX + number, number, b"00")

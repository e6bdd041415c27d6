"""What a request is called across services: W3C Trace Context (https://www.w3.org/TR/trace-context/).

Whoever sends a valid `traceparent` gets its trace id back, and finds it in our log; whoever sends none gets a new one.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

HEADER = b"traceparent"
# A version that is not known yet may say more behind what it says as this one does.
_SENT = re.compile(rb"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_PREFIX = secrets.token_hex(8).encode()
# Counted, not drawn: a request needs a name that no other one has, and it costs a tenth.
_numbers = count(secrets.randbits(62) + 1)


@dataclass(slots=True)
class Call:
    """What a request asks of another server."""

    header: bytes
    """The value of `traceparent` to send."""
    code: int | None = None
    """The status of the answer, if there was one."""


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

    @contextmanager
    def call(self, _: str) -> Iterator[Call]:
        """A POST to this address on behalf of the request."""
        yield Call(self.header)


current: ContextVar[Trace] = ContextVar("current")
"""The trace of the request that is being answered; not set on the short way of `api.direct`, which asks nobody."""


def sent(headers: Sequence[tuple[bytes, bytes]]) -> "re.Match[bytes] | None":
    """Trace id, span id and flags (groups 1 to 3) of the caller's `traceparent`; names of headers in lower case."""
    for name, value in headers:
        if name == HEADER:
            return _SENT.fullmatch(value)
    return None


def of(headers: Sequence[tuple[bytes, bytes]]) -> Trace:
    """The trace of the request that came with these headers."""
    number, found = b"%016x" % next(_numbers), sent(headers)
    return Trace(_PREFIX + number, number, b"00") if found is None else Trace(found[1], number, found[3])

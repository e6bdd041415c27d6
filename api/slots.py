"""Which node of a Redis Cluster serves a key (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""

from binascii import crc_hqx
from typing import Any

from api.redis_connection import ConnectionLost, command

SLOTS = 16_384
QUESTION = command("CLUSTER", "SLOTS")
Node = tuple[str, int]
"""Host and port."""


def slot(key: bytes) -> int:
    """The slot of a key: of what stands between its first braces, if there is something."""
    start = key.find(b"{") + 1
    end = key.find(b"}", start) if start else 0
    return crc_hqx(key[start:end] if end > start else key, 0) % SLOTS


def masters(reply: Any, asked: Node) -> list[Node | None]:
    """The node of each slot, by `asked`'s reply to QUESTION; None for a slot that nobody serves.

    ConnectionLost if it knows of none: it is no longer a node of the cluster, or not yet.
    """
    nodes: list[Node | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_ in reply:
        nodes[first : last + 1] = [_node(host, port, asked)] * (last + 1 - first)
    if not any(nodes):
        raise ConnectionLost(f"{asked[0]}:{asked[1]} knows of no node of the cluster")
    return nodes


def redirected(refusal: str, asked: Node) -> tuple[str, Node] | None:
    """MOVED or ASK and the node to go to, if the refusal of `asked` says so."""
    kind, _, rest = refusal.partition(" ")
    if kind not in ("MOVED", "ASK"):
        return None
    host, _, port = rest.partition(" ")[2].rpartition(":")
    node = _node(host.encode(), int(port), asked)
    return node and (kind, node)


def _node(host: bytes | None, port: int, asked: Node) -> Node | None:
    """A node that does not say its host has the one that was asked; "?" is one that does not know it."""
    if host == b"?":
        return None
    return (host.decode() if host else asked[0], port)

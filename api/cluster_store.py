"""The online store over a Redis Cluster: one pipelined connection to each node that is asked."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from api import slots
from api.deadline import Deadline
from api.link import CONNECT_DEADLINE, Link, at, greeting, tls
from api.online_store import DEADLINE, HashRead, HashReply, Reachability
from api.parts import Parts
from api.problems import Problem
from api.redis_address import RedisAddress
from api.redis_connection import TROUBLE, ConnectionLost, ask_once, command
from api.shared_call import SharedCall, first
from api.slots import Node

# Where a slot is, is asked of all the nodes of the address, and of so many others: the former may be long gone.
OTHERS_ASKED = 4
LEARN_INTERVAL = 0.1
MOST_HOPS = 5
ASKING = command("ASKING")


class _Question(NamedTuple):
    number: int
    slot: int
    command: bytes
    node: Node
    is_asking: bool = False
    """Whether the node is asked for a slot that is on its way to it."""


class ClusterStore:
    """OnlineStore for a Redis Cluster. A slot that moves is followed; a node that is away costs its own keys only."""

    def __init__(self, address: RedisAddress) -> None:
        options = {name: value for name, value in address.options.items() if name != "db"}
        self._tls, self._greeting = tls(options), greeting(options)
        self._startup_nodes = address.nodes
        self._nodes: list[Node | None] = [None] * slots.SLOTS
        self._links: dict[Node, Link] = {}
        self._learning, self._learned_at = SharedCall(self._learn), 0.0
        self._parts = Parts(self._read_part)
        self._state = Reachability()

    @property
    def reached(self) -> bool:
        """As promised."""
        return self._state.reached

    @property
    def connection(self) -> None:
        """None: each key has a node of its own."""
        return

    def lost(self, error: Exception) -> Problem:
        """As promised."""
        return self._state.lost(error)

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """As promised."""
        try:
            return await (self._read_part(reads) if len(reads) == 1 else self._parts.read(reads))
        except TROUBLE as error:
            raise self._troubled(error) from None

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """As promised."""
        try:
            [flat] = await self._ask([(key.encode(), command("HGETALL", key))])
        except TROUBLE as error:
            raise self._troubled(error) from None
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def close(self) -> None:
        """As promised."""
        await self._learning.close()
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def _troubled(self, error: Exception) -> Problem:
        """Note a failure, and see to it that the next call asks the node that serves the slot by then."""
        self._learn_soon()
        return self._state.lost(error)

    async def _read_part(self, reads: Sequence[HashRead]) -> list[HashReply]:
        return await self._ask([(key, fields.command(key)) for key, fields in reads])

    async def _ask(self, commands: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        """The reply to each (key, command)."""
        replies: list[Any] = [None] * len(commands)
        async with Deadline(DEADLINE):
            left = [await self._question(number, *asked) for number, asked in enumerate(commands)]
            for _ in range(MOST_HOPS):
                left = [question async for question in self._left(left, replies)]
                if not left:
                    self._state.found()
                    return replies
        raise ConnectionLost("the nodes of the cluster send from one to the other")

    async def _question(self, number: int, key: bytes, asked: bytes) -> _Question:
        slot = slots.slot(key)
        if self._nodes[slot] is None:
            await self._learn_again()
        node = self._nodes[slot]
        if node is None:
            raise ConnectionLost(f"no node is known to serve slot {slot}")
        return _Question(number, slot, asked, node)

    async def _left(self, questions: Sequence[_Question], replies: list[Any]) -> AsyncIterator[_Question]:
        """Ask; put each reply in its place, and give the questions that are another node's."""
        by_node: dict[Node, list[_Question]] = {}
        for question in questions:
            by_node.setdefault(question.node, []).append(question)
        answered = await asyncio.gather(*(self._ask_node(*asked) for asked in by_node.items()))
        for question, reply in chain.from_iterable(answered):
            if isinstance(reply, TROUBLE):
                yield await self._elsewhere(question, reply)
            else:
                replies[question.number] = reply

    async def _ask_node(self, node: Node, questions: Sequence[_Question]) -> list[tuple[_Question, Any]]:
        """Each with its reply; the node's refusal, or what is wrong with the node, counts as one."""
        commands = b"".join(
            [ASKING + question.command if question.is_asking else question.command for question in questions]
        )
        count = len(questions) + sum(question.is_asking for question in questions)
        try:
            replies = iter(await self._link(node).ask(commands, count))
        except TROUBLE as error:
            return [(question, error) for question in questions]
        return [(question, [next(replies) for _ in range(1 + question.is_asking)][-1]) for question in questions]

    async def _elsewhere(self, question: _Question, error: Exception) -> _Question:
        """The question to the node that serves its slot by now; the error, if that is none, or still the same."""
        redirection = slots.redirected(str(error), question.node)
        if redirection is None:
            await self._learn_again()
            node = self._nodes[question.slot]
            if node is None or node == question.node:
                raise error
            return question._replace(node=node, is_asking=False)
        kind, node = redirection
        if kind == "MOVED":
            self._nodes[question.slot] = node
            self._learn_soon()
        return question._replace(node=node, is_asking=kind == "ASK")

    def _link(self, node: Node) -> Link:
        if node not in self._links:
            self._links[node] = Link(at(*node), self._tls, self._greeting, self.lost)
        return self._links[node]

    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._learned_at + LEARN_INTERVAL

    def _learn_soon(self) -> None:
        if self._is_due():
            self._learning.start()

    async def _learn_again(self) -> None:
        """Have it read again who serves which slot, unless that was done a moment ago; TROUBLE."""
        if self._is_due():
            await self._learning.result()

    async def _learn(self) -> None:
        try:
            async with Deadline(CONNECT_DEADLINE):
                self._nodes = await first(self._nodes_by(node) for node in self._knowing())
        finally:
            self._learned_at = asyncio.get_running_loop().time()
        for node in set(self._links) - set(self._nodes):
            if self._links[node].is_idle:
                await self._links.pop(node).close()

    def _knowing(self) -> set[Node]:
        others = sorted({node for node in self._nodes if node is not None}.difference(self._startup_nodes))
        return {*self._startup_nodes, *random.sample(others, min(OTHERS_ASKED, len(others)))}

    async def _nodes_by(self, node: Node) -> list[Node | None]:
        return slots.masters(await ask_once(*node, self._tls, self._greeting, slots.QUESTION), node)

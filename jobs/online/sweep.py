"""What the online store holds of a group's entities besides those that it should hold: found by a scan, and removed."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np

from jobs.errors import VerificationError
from jobs.online.columns import booleans
from jobs.online.encoded_column import Flags
from jobs.online.entity_group import EntityGroup
from jobs.online.hashing import Hashes, hashes
from jobs.online.key_scan import entity_keys
from jobs.online.store import Client, remove_fields


@dataclass(frozen=True)
class Swept:
    """How many entities lost a row of each view, and how many keys with the group's prefix there are afterwards."""

    removed: list[int]
    keys: int


@dataclass(frozen=True)
class Held:
    """What the online store held before it was written to."""

    keys: Hashes
    """The hashes of the group's keys, sorted, each once."""
    size: int
    """How many keys there were, of whatever kind."""


def held(client: Client, scanned: Iterable[Hashes]) -> Callable[[], Held]:
    """What is held now, once all is `scanned`; nothing may be written before."""
    size = cast(int, client.dbsize())

    @cache
    def wait() -> Held:
        keys = array("Q")
        for some in scanned:
            keys.frombytes(some.tobytes())
        return Held(_distinct(np.frombuffer(keys, np.uint64)), size)

    return wait


def sweep(client: Client, group: EntityGroup, current: Hashes, before: Held, write: Callable[[], None]) -> Swept:
    """Remove the group's views from every entity whose key's hash is not one of `current`, and prove that it is so.

    Where nothing is to be removed, and as many keys have come as entities that were not held `before`, there is no need
    to look at all keys again. `current` is sorted in its place; `write` is called before anything is written. Raises
    VerificationError when an entity that should be there is not.
    """
    known = _distinct(current)
    if _are_in(before.keys, known).all() and client.dbsize() == before.size + len(known) - len(before.keys):
        return Swept([0] * len(group.views), len(known))
    removed = [0] * len(group.views)
    strangers, keys = _pass(client, group, known, write, removed)
    if strangers:
        # A key that lost its last field is gone, one that holds other views stays: counted, not reckoned.
        found: list[int] = [0] * len(group.views)
        _, keys = _pass(client, group, known, write, found)
        if any(found):
            raise VerificationError(
                "the online store holds entities again that were removed; something else writes there. Run it again"
            )
    return Swept(removed, keys)


def _pass(
    client: Client, group: EntityGroup, known: Hashes, write: Callable[[], None], removed: list[int]
) -> tuple[int, int]:
    """One scan: adds to `removed`, and returns the strangers and all keys that it met."""
    is_there = np.zeros(len(known), bool)
    met = strangers = 0
    for keys in entity_keys(client, group.project, group.prefix):
        found = hashes(keys)
        is_known = _are_in(found, known)
        is_there[np.searchsorted(known, found[is_known])] = True
        others = keys.filter(booleans(~is_known)).to_pylist()
        met += len(keys)
        strangers += len(others)
        if others:
            write()
            for number, fields in enumerate(group.fields_of):
                removed[number] += remove_fields(client, others, fields)
    if not is_there.all():
        lost, views = int(np.count_nonzero(~is_there)), ", ".join(view.name for view in group.views)
        raise VerificationError(
            f"the online store holds {len(known) - lost} of {len(known)} entities ({views}); it drops what is written, "
            "or something else removes it. Run it again"
        )
    return strangers, met


def _distinct(some: Hashes) -> Hashes:
    """Each once, sorted in their place."""
    some.sort()
    is_first = np.append(True, some[1:] != some[:-1])[: len(some)]
    return some if is_first.all() else some[is_first]


def _are_in(some: Hashes, known: Hashes) -> Flags:
    """Which of some are in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(some), np.bool_)
    places = np.searchsorted(known, some)
    places[places == len(known)] = 0
    found: Flags = known[places] == some
    return found

"""What the online store holds of a group's entities besides those that it should hold: found by a scan, and removed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.errors import VerificationError
from jobs.online.columns import booleans
from jobs.online.entity_group import EntityGroup
from jobs.online.hashing import Hashes, hashes
from jobs.online.key_scan import entity_keys
from jobs.online.store import Client, remove_fields


@dataclass(frozen=True)
class Swept:
    """How many entities lost a row of each view, and how many keys with the group's prefix there are afterwards."""

    removed: list[int]
    keys: int


def sweep(client: Client, group: EntityGroup, current: Hashes, before_write: Callable[[], None]) -> Swept:
    """Remove the group's views from every entity whose key's hash is not one of `current`, and prove that it is so.

    `current` is sorted in its place. Raises VerificationError when an entity that should be there is not.
    """
    current.sort()
    is_first = np.append(True, current[1:] != current[:-1])[: len(current)]
    known = current if is_first.all() else current[is_first]
    removed = [0] * len(group.views)
    strangers, keys = _pass(client, group, known, before_write, removed)
    if strangers:
        # A key that lost its last field is gone, one that holds other views stays: counted, not reckoned.
        found: list[int] = [0] * len(group.views)
        _, keys = _pass(client, group, known, before_write, found)
        if any(found):
            raise VerificationError(
                "the online store holds entities again that were removed; something else writes there. Run it again"
            )
    return Swept(removed, keys)


def count_keys(client: Client, group: EntityGroup) -> int:
    """How many keys with the group's prefix there are."""
    return sum(len(keys) for keys in entity_keys(client, group.project, group.prefix))


def _pass(
    client: Client, group: EntityGroup, known: Hashes, before_write: Callable[[], None], removed: list[int]
) -> tuple[int, int]:
    """One scan: adds to `removed`, and returns the strangers and all keys that it met."""
    is_there = np.zeros(len(known), bool)
    met = strangers = 0
    for keys in entity_keys(client, group.project, group.prefix):
        found = hashes(keys)
        places = np.searchsorted(known, found)
        places[places == len(known)] = 0
        is_known = known[places] == found
        is_there[places[is_known]] = True
        others = keys.filter(booleans(~is_known)).to_pylist()
        met += len(keys)
        strangers += len(others)
        if others:
            before_write()
            for number, fields in enumerate(group.fields_of):
                removed[number] += remove_fields(client, others, fields)
    if not is_there.all():
        lost, views = int(np.count_nonzero(~is_there)), ", ".join(view.name for view in group.views)
        raise VerificationError(
            f"the online store holds {len(known) - lost} of {len(known)} entities ({views}); it drops what is written, "
            "or something else removes it. Run it again"
        )
    return strangers, met

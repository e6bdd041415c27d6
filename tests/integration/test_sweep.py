"""After a load the online store holds a group's entities, all and no other, whatever else happened meanwhile."""

from datetime import timedelta
from typing import cast

import numpy as np
import pytest
import redis

from jobs.definitions import Feature, JoinKey, SnapshotView
from jobs.errors import VerificationError
from jobs.online.columns import binaries
from jobs.online.encoding import entity_key_value
from jobs.online.entity_group import EntityGroup
from jobs.online.hashing import Hashes, hashes
from jobs.online.key_scan import entity_keys
from jobs.online.sweep import Held, Swept, held, sweep
from tests.bytes_redis import BytesRedis

VIEW = SnapshotView(
    name="usage_fv", join_keys=(JoinKey("user_id", "user_id", "STRING"),), relation="usage", source="usage",
    as_of_column="as_of", created_at_column=None, tombstone_column=None, ttl=timedelta(days=45),
    features=(Feature("hours", "hours", "INT64", "", {}),), description="", owner="", tags={},
)  # fmt: skip
GROUP = EntityGroup("streamflow", (VIEW,))
FIELDS = dict.fromkeys(GROUP.fields, b" \x01")


def key_of(user: str) -> bytes:
    return GROUP.prefix + entity_key_value(user, "STRING") + b"streamflow"


def write(client: BytesRedis, *users: str) -> None:
    for user in users:
        client.hset(key_of(user), mapping=FIELDS)


def before(client: BytesRedis) -> Held:
    store = cast(redis.Redis, client)
    return held(store, (hashes(keys) for keys in entity_keys(store, GROUP.project, GROUP.prefix)))()


def current(*users: str) -> Hashes:
    return hashes(binaries([key_of(user) for user in users])).copy()


def swept(client: BytesRedis, was: Held, *users: str) -> Swept:
    return sweep(cast(redis.Redis, client), GROUP, current(*users), was, lambda: None)


def scans(client: BytesRedis) -> int:
    """How often Redis was asked for keys."""
    return int(client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])


@pytest.mark.parametrize("first", [(), ("a",), ("a", "b", "c")])
def test_where_nothing_is_to_be_removed_the_number_of_keys_is_enough(
    redis_client: BytesRedis, first: tuple[str, ...]
) -> None:
    write(redis_client, *first)
    redis_client.set("another application's", "1")
    was = before(redis_client)
    write(redis_client, "a", "b", "c")
    calls = scans(redis_client)
    assert swept(redis_client, was, "a", "b", "c") == Swept([0], 3)
    assert scans(redis_client) == calls


def test_an_entity_that_is_not_current_is_removed_though_the_number_of_keys_is_right(redis_client: BytesRedis) -> None:
    write(redis_client, "a", "gone")
    was = before(redis_client)
    write(redis_client, "a", "b")
    assert swept(redis_client, was, "a", "b") == Swept([1], 2)
    assert not redis_client.exists(key_of("gone"))


def test_an_entity_that_was_lost_meanwhile_is_missed(redis_client: BytesRedis) -> None:
    was = before(redis_client)
    write(redis_client, "a", "b")
    redis_client.delete(key_of("a"))
    with pytest.raises(VerificationError, match="holds 1 of 2 entities"):
        swept(redis_client, was, "a", "b")


def test_an_entity_that_was_lost_does_not_hide_one_that_is_to_be_removed(redis_client: BytesRedis) -> None:
    write(redis_client, "a", "gone")
    was = before(redis_client)
    write(redis_client, "b")
    redis_client.delete(key_of("a"))
    with pytest.raises(VerificationError, match="holds 1 of 2 entities"):
        swept(redis_client, was, "a", "b")


def test_keys_that_others_write_or_remove_meanwhile_change_nothing(redis_client: BytesRedis) -> None:
    redis_client.set("others' first", "1")
    was = before(redis_client)
    write(redis_client, "a")
    redis_client.delete("others' first")
    assert swept(redis_client, was, "a") == Swept([0], 1)
    redis_client.set("others' second", "1")
    redis_client.set("others' third", "1")
    assert swept(redis_client, was, "a") == Swept([0], 1)


def test_what_is_held_is_each_key_once_and_only_the_groups(redis_client: BytesRedis) -> None:
    write(redis_client, *(f"user-{number}" for number in range(2500)))
    redis_client.hset(GROUP.prefix + entity_key_value("a", "STRING") + b"not-streamflow", mapping=FIELDS)
    redis_client.set("feature-platform:streamflow:plan", "{}")
    found = before(redis_client)
    assert found.size == 2502
    np.testing.assert_array_equal(found.keys, np.sort(current(*(f"user-{number}" for number in range(2500)))))

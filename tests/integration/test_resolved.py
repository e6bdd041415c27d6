"""What `apply` resolved is what Feast would, for as long as nobody else changes Feast's registry."""

from datetime import datetime

import psycopg
import pytest

from jobs import materialize, resolved
from jobs.definitions import resolve
from jobs.feast_store import open_store
from jobs.settings import load_settings
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT
from tests.offline import FEBRUARY, JANUARY, MARCH, OfflineStore


def intervals() -> list[tuple[datetime, datetime]]:
    return open_store(load_settings()).get_feature_view("usage_agg_30d_fv").materialization_intervals


def test_the_definitions_are_the_ones_that_feast_gives(platform: OfflineStore) -> None:
    assert resolved.look(platform.connection, PROJECT) == resolve(open_store(load_settings()))


def test_a_registry_that_feast_has_changed_is_read_by_feast(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    store = open_store(load_settings())
    view = store.get_feature_view("subs_profile_fv")
    view.description = "changed by other hands"
    store.registry.apply_feature_view(view, PROJECT)
    assert resolved.look(platform.connection, PROJECT) is None
    assert materialize.main([]) == 0
    assert open_store(load_settings()).get_feature_view("subs_profile_fv").materialization_intervals


def test_an_interval_is_recorded_as_feast_records_it(platform: OfflineStore, redis_client: BytesRedis) -> None:
    store = open_store(load_settings())
    view = store.get_feature_view("usage_agg_30d_fv")
    assert view.ttl is not None
    platform.snapshot("a", JANUARY)
    platform.snapshot("a", FEBRUARY)
    assert materialize.main(["--as-of", JANUARY.isoformat()]) == 0
    assert materialize.main([]) == 0
    assert intervals() == [(JANUARY - view.ttl, JANUARY), (FEBRUARY - view.ttl, FEBRUARY)]
    ours = open_store(load_settings()).get_feature_view("usage_agg_30d_fv")
    store.registry.apply_materialization(ours, PROJECT, MARCH - view.ttl, MARCH)
    assert len(intervals()) == 3, "and Feast goes on from there"
    theirs = open_store(load_settings()).get_feature_view("usage_agg_30d_fv")
    assert ours.state == theirs.state
    assert (ours.features, ours.created_timestamp) == (theirs.features, theirs.created_timestamp)


def test_what_was_noted_holds_after_our_own_materializations(platform: OfflineStore, redis_client: BytesRedis) -> None:
    platform.snapshot("a", JANUARY)
    noted = resolved.look(platform.connection, PROJECT)
    assert materialize.main([]) == 0
    assert resolved.look(platform.connection, PROJECT) == noted is not None


def test_a_materialization_that_feast_recorded_costs_one_look_at_feast(
    platform: OfflineStore, redis_client: BytesRedis
) -> None:
    noted = resolved.look(platform.connection, PROJECT)
    store = open_store(load_settings())
    store.registry.apply_materialization(store.get_feature_view("usage_agg_30d_fv"), PROJECT, JANUARY, FEBRUARY)
    assert resolved.look(platform.connection, PROJECT) is None
    platform.snapshot("a", JANUARY)
    assert materialize.main([]) == 0
    assert resolved.look(platform.connection, PROJECT) == noted is not None


@pytest.mark.parametrize(
    "damage", ["DROP TABLE ledger.definitions", "UPDATE ledger.definitions SET definitions = '{}'"]
)
def test_without_a_note_feast_is_asked(platform: OfflineStore, redis_client: BytesRedis, damage: str) -> None:
    platform.snapshot("a", JANUARY)
    platform.connection.execute(damage)
    assert materialize.main([]) == 0
    assert intervals()


def test_nothing_is_recorded_in_a_registry_that_has_changed(platform: OfflineStore) -> None:
    definitions = resolved.look(platform.connection, PROJECT)
    assert definitions is not None
    platform.connection.execute("UPDATE registry.data_sources SET data_source_proto = '' WHERE true")
    before = platform.connection.execute("SELECT feature_view_proto FROM registry.feature_views ORDER BY 1").fetchall()
    view = definitions.views[0]
    with psycopg.connect("", autocommit=True) as connection:
        assert not resolved.record_materialization(connection, PROJECT, [view], [JANUARY], FEBRUARY)
    after = platform.connection.execute("SELECT feature_view_proto FROM registry.feature_views ORDER BY 1").fetchall()
    assert after == before

"""A compute engine for Feast: `feast materialize` and `store.materialize(...)` on the same stream as our own job.

In `feature_store.yaml`:

    batch_engine:
      type: jobs.feast_plugins.compute_engine.StreamingComputeEngine

What Feast promises stays: the latest row of each entity in the window is written, and what the window does not hold is
left alone. Two things are put right: a row whose event timestamp is the stored one is a correction and is written, and
two materializations at once cannot leave older values, for both take the writer lock. A row is never replaced by an
older one. Neither the status nor the watermark moves: these are `jobs.materialize`'s to say, which also removes.
"""

from contextlib import closing
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
import psycopg
from feast import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from feast.infra.registry.base_registry import BaseRegistry
from google.protobuf.timestamp_pb2 import Timestamp
from tqdm import tqdm

from jobs.arrow_query import arrow_session
from jobs.definitions import snapshot_view
from jobs.feast_plugins.offline_store import PointInTimePostgreSQLOfflineStoreConfig
from jobs.feast_plugins.online_store import redis_settings
from jobs.feast_plugins.sessions import conninfo_of
from jobs.lock import writer_lock
from jobs.online.block import Block, bulk, bulks
from jobs.online.columns import constant, content, join
from jobs.online.current_rows import current_entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.load import Load
from jobs.online.partition import fill
from jobs.online.store import connect
from jobs.online.value_check import check_values
from jobs.online.wire import Wire, opened_wires

TYPE: Final = "jobs.feast_plugins.compute_engine.StreamingComputeEngine"
LOCK_WAIT_SECONDS = 10.0


class StreamingComputeEngineConfig(LocalComputeEngineConfig):
    """The settings of the engine: none but its type."""

    type: Literal["jobs.feast_plugins.compute_engine.StreamingComputeEngine"] = TYPE  # type: ignore[assignment]


class StreamingComputeEngine(LocalComputeEngine):
    """Streams plain feature views from our offline store to Redis; Feast's local engine does whatever else there is."""

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        if not self._can_stream(task):
            return super()._materialize_one(registry, task, **kwargs)
        job_id = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            self._stream(task)
        except Exception as error:  # Feast raises what the job gives it
            return LocalMaterializationJob(job_id, MaterializationJobStatus.ERROR, error)
        return LocalMaterializationJob(job_id, MaterializationJobStatus.SUCCEEDED)

    def _can_stream(self, task: MaterializationTask) -> bool:
        online = self.repo_config.online_store
        return (
            type(task.feature_view) is FeatureView  # its kinds may compute on the way
            and task.only_latest
            and not task.disable_event_timestamp
            and isinstance(self.repo_config.offline_store, PointInTimePostgreSQLOfflineStoreConfig)
            and isinstance(online, RedisOnlineStoreConfig)
            and online.key_ttl_seconds is None
        )

    def _stream(self, task: MaterializationTask) -> None:
        # The rows from T - (T - start) on: a window is a ttl that is counted from its end.
        view = replace(snapshot_view(task.feature_view), ttl=task.end_time - task.start_time)
        group = EntityGroup(task.project, (view,))
        query = current_entities_query(group.views, task.end_time)
        conninfo = conninfo_of(self.repo_config.offline_store)
        bar = task.tqdm_builder(None) if task.tqdm_builder else tqdm(disable=True)  # type: ignore[arg-type]  # unknown
        with (
            closing(bar),
            writer_lock(LOCK_WAIT_SECONDS, psycopg.connect(conninfo, autocommit=True)) as lock,
            connect(redis_settings(self.repo_config.online_store)) as client,
            opened_wires(client) as wires,
            arrow_session(conninfo) as session,
        ):
            with psycopg.connect(conninfo, autocommit=True) as connection:
                connection.execute("SET TIME ZONE 'UTC'")
                check_values(connection, view, task.end_time)
            fill(group, session, session.batches(query), wires, Load(group, lock.check, _NotOlder(group)), bar.update)


class _NotOlder:
    """Selects the entities of which Redis holds no later row of the view."""

    def __init__(self, group: EntityGroup) -> None:
        self._field = group.fields_of[0][-1]
        self._known: dict[bytes | None, int] = {None: np.iinfo(np.int64).min, b"": np.iinfo(np.int64).min}

    def __call__(self, wire: Wire, block: Block) -> Block:
        head, asked = constant(b"*3\r\n$5\r\nHMGET\r\n"), constant(bulk(self._field))
        wire.send(content(join(head, bulks(block.keys), asked)))
        stored = np.array([self._micros(value) for (value,) in wire.replies(len(block.keys))], np.int64)
        is_older = block.as_of[:, 0] < stored
        return block.take(np.flatnonzero(~is_older)) if is_older.any() else block

    def _micros(self, value: bytes | None) -> int:
        if value not in self._known:  # few instants are shared by many entities
            self._known[value] = Timestamp.FromString(value).ToMicroseconds()
        return self._known[value]

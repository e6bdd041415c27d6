"""The gateway's parts, wired together."""

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from time import perf_counter

from api import redis_address, tracing
from api.background import Background
from api.cluster_store import ClusterStore
from api.memory_share import MEBIBYTE, Budget
from api.metrics import Metrics
from api.on_demand import FeatureServer
from api.online_store import HashRead, HashReply, OnlineStore
from api.online_store_metrics import OnlineStoreCollector
from api.pipelined_store import PipelinedStore
from api.plan_watch import PlanWatch
from api.problems import Problem, Unauthorized
from api.programs import Programs
from api.reader import Reader
from api.recent_traffic import RecentTraffic
from api.redis_connection import Connection
from api.settings import Settings
from api.status import MaterializationStatus

BODIES_BYTES, ANSWERS_BYTES = 32 * MEBIBYTE, 64 * MEBIBYTE


class ApiKeys:
    """Checks the header `Authorization: Bearer KEY`. Keys are known by their SHA-256 only; none at all: open."""

    def __init__(self, hashes: Sequence[str]) -> None:
        self._hashes = [bytes.fromhex(entry) for entry in hashes]

    def check(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Return if a valid key is sent or none is asked for; Unauthorized otherwise."""
        if not self._hashes:
            return
        scheme, _, key = next((value for name, value in headers if name == b"authorization"), b"").partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        # Every hash is compared, so that the time does not tell which one fits.
        fits = sum(hmac.compare_digest(digest, entry) for entry in self._hashes)
        if scheme.lower() != b"bearer" or not fits:
            raise Unauthorized


class Gateway:
    """All parts over one connection to Redis; nothing is connected before the first use. SettingsError."""

    def __init__(self, settings: Settings, store: OnlineStore | None = None) -> None:
        address = redis_address.parse(
            settings.redis_connection_string, username=settings.redis_username, password=settings.redis_password
        )
        self.settings = settings
        self.keys = ApiKeys(settings.api_key_hashes)
        self.store: OnlineStore = store or (
            ClusterStore(address)
            if settings.redis_type == "redis_cluster"
            else PipelinedStore(address, settings.redis_type, settings.redis_sentinel_master)
        )
        self.status = MaterializationStatus(self.store, settings.project)
        self.bodies, self.answers = Budget(BODIES_BYTES), Budget(ANSWERS_BYTES)
        self.metrics = Metrics()
        self.background = Background(self.metrics)
        self.traffic = RecentTraffic(self.metrics)
        self.programs = Programs(settings.project, self.metrics, settings.freshness_reference == "watermark")
        self.requests = tracing.request_log()(
            settings.gateway_request_log == "all", settings.gateway_slow_request_seconds
        )
        self.feature_server = FeatureServer(settings.feature_server_url, self.metrics.feature_server)
        self.plans = PlanWatch(self.store, self.status, settings.project)
        self.metrics.registry.register(OnlineStoreCollector(self.store, self.status, self.plans))
        self.reader = Reader(
            _Timed(self.store, self.metrics),
            self.status,
            self.feature_server,
            settings.project,
            settings.freshness_reference,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for plans while it is open; closes every connection at its end."""
        # Requests wait in the backlog for this look: a gateway that is started again refuses none for want of a plan.
        await self.background.attempt("plan_watch", self.plans.refresh)
        self.background.start("plan_watch", self.plans.run)
        self.background.start("recent_traffic", self.traffic.run)
        try:
            yield
        finally:
            await self.background.stop()
            await self.feature_server.close()
            await self.store.close()
            await self.requests.close()


class _Timed:
    """An online store whose reads of features are measured."""

    def __init__(self, store: OnlineStore, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics

    @property
    def reached(self) -> bool:
        return self._store.reached

    @property
    def connection(self) -> Connection | None:
        return self._store.connection

    def lost(self, error: Exception) -> Problem:
        return self._store.lost(error)

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        started = perf_counter()
        try:
            return await self._store.read(reads)
        finally:
            self._metrics.online_read.observe(perf_counter() - started)

    async def hash(self, key: str) -> dict[bytes, bytes]:
        return await self._store.hash(key)

    async def close(self) -> None:
        await self._store.close()

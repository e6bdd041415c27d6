"""Keeps the serving plan and the materialization status up to date, from Redis, every five seconds."""

import asyncio
import logging

from api import instants, plan_reading
from api.online_store import HashFields, OnlineStore
from api.problems import NoPlan, Problem
from api.selection import Selector
from api.status import MaterializationStatus

logger = logging.getLogger("api.plan_watch")
INTERVAL = 5.0
# Until the first plan is there, and while Redis is away.
IMPATIENT_INTERVAL = 0.25
VERSION, DOCUMENT = HashFields([b"version"]), HashFields([b"version", b"json"])


class PlanWatch:
    """Holds the last good plan. A plan that cannot be served is logged once, and so is each part of one that cannot."""

    def __init__(self, store: OnlineStore, status: MaterializationStatus, project: str) -> None:
        self._store, self._status, self._project = store, status, project
        self._key = f"feature-platform:{project}:plan"
        self._rejected = ""
        self._selector: Selector | None = None
        self.version = ""
        self.loaded_at = 0

    @property
    def ready(self) -> bool:
        """A plan is loaded and Redis was reached once: it stays true when Redis fails later."""
        return self._selector is not None

    @property
    def selector(self) -> Selector:
        """NoPlan until there is one."""
        if self._selector is None:
            raise NoPlan("No serving plan has been read from the online store yet.")
        return self._selector

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL if await self.refresh() else IMPATIENT_INTERVAL)

    async def refresh(self) -> bool:
        """Looks once; False if it should look again soon."""
        try:
            [[version]] = await self._store.read([(self._key.encode(), VERSION)])
            if version is not None and version.decode("utf-8", "replace") not in (self.version, self._rejected):
                await self._load()
            await self._status.refresh()
            await self._status.history.refresh()
        except Problem:
            return False
        return self.ready

    async def _load(self) -> None:
        [[version, document]] = await self._store.read([(self._key.encode(), DOCUMENT)])
        name = (version or b"").decode("utf-8", "replace")
        try:
            selector = Selector(plan_reading.parse(document or b"", name, self._project))
        except plan_reading.PlanRejected as error:
            self._rejected = name
            logger.error("plan_rejected", extra={"fields": {"version": name, "reason": str(error)}})
            return
        self._selector, self.version, self.loaded_at, self._rejected = selector, name, instants.now(), ""
        logger.info("plan_loaded", extra={"fields": {"version": name}})
        for service, reason in selector.plan.problems.items():
            fields = {"version": name, "feature_service": service, "reason": reason}
            logger.error("feature_service_not_servable", extra={"fields": fields})

"""The materialization status, which `materialize` writes beside the features."""

import logging
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api import instants
from api.online_store import OnlineStore
from api.problems import NotMaterialized
from api.run_history import RunHistory

logger = logging.getLogger("api.status")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    watermark: str
    rows: int = Field(lt=2**63)
    previous_rows: int | None = Field(None, lt=2**63)
    left_out_rows: int = Field(0, lt=2**63)
    defaulted_elements: int = Field(0, lt=2**63)
    started_at: str
    finished_at: str


class ViewStatus:
    """The last successful materialization of a view; instants in nanoseconds since 1970."""

    __slots__ = (
        "defaulted_elements", "finished_at", "left_out_rows", "previous_rows", "rows", "started_at", "watermark",
    )  # fmt: skip

    def __init__(self, document: bytes) -> None:
        entry = _Entry.model_validate_json(document)
        self.watermark = instants.from_text(entry.watermark)
        self.started_at = instants.from_text(entry.started_at)
        self.finished_at = instants.from_text(entry.finished_at)
        self.rows, self.previous_rows = entry.rows, entry.previous_rows
        self.left_out_rows, self.defaulted_elements = entry.left_out_rows, entry.defaulted_elements


class MaterializationStatus:
    """What is known of every view's materialization, and of the last runs; a view that is missing never had one."""

    def __init__(self, store: OnlineStore, project: str) -> None:
        self._store = store
        self._key = f"feature-platform:{project}:status"
        self._documents: dict[bytes, bytes] = {}
        self.views: dict[str, ViewStatus] = {}
        self.history = RunHistory(store, project)

    async def refresh(self) -> bool:
        """Read the views' status again, not the last runs; whether it changed since it was read last."""
        documents = await self._store.hash(self._key)
        changed = documents != self._documents
        if changed:
            self.views = dict(filter(None, map(_entry, documents.items())))
            self._documents = documents
        return changed

    async def require(self, views: Iterable[str]) -> Mapping[str, ViewStatus]:
        """What is known of all views, if each of these was materialized; NotMaterialized names one that was not.

        What is known may be seconds old: it is read again before a refusal.
        """
        if any(view not in self.views for view in views):
            await self.refresh()
        missing = [view for view in views if view not in self.views]
        if missing:
            raise NotMaterialized(f"Feature view {missing[0]} is not materialized yet.")
        return self.views


def _entry(item: tuple[bytes, bytes]) -> tuple[str, ViewStatus] | None:
    name = item[0].decode("utf-8", "replace")
    try:
        return name, ViewStatus(item[1])
    except (ValidationError, ValueError):
        logger.warning("status_unreadable", extra={"fields": {"feature_view": name}})
        return None

"""The last materializations, which `materialize` writes beside the features: also one that runs, or failed."""

import logging
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api import instants
from api.online_store import OnlineStore

logger = logging.getLogger("api.run_history")
# The job's exit code for a run that found another writer at work, and was none itself.
LOCK_HELD = 75


class Run(NamedTuple):
    """One run; instants in nanoseconds since 1970. What is None is not known before its end."""

    started_at: int
    finished_at: int | None
    exit_code: int | None
    summary: str | None
    """What it did, if it succeeded."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    finished_at: str | None = None
    exit_code: int | None = Field(None, ge=0, lt=256)
    summary: str | None = None


class RunHistory:
    """What is known of the last runs, the newest first."""

    def __init__(self, store: OnlineStore, project: str) -> None:
        self._store = store
        self._key = f"feature-platform:{project}:runs"
        self._documents: dict[bytes, bytes] = {}
        self.runs: list[Run] = []

    async def refresh(self) -> None:
        """Read it again; OnlineStoreUnavailable."""
        documents = await self._store.hash(self._key)
        if documents != self._documents:
            runs = filter(None, (_run(*item) for item in documents.items()))
            self.runs = sorted(runs, key=lambda run: run.started_at, reverse=True)
            self._documents = documents

    @property
    def unfinished(self) -> Run | None:
        """The newest run, if it has not ended: it is at work, or died without a word."""
        newest = next(iter(self._own), None)
        return newest if newest is not None and newest.finished_at is None else None

    @property
    def last(self) -> Run | None:
        """The newest run that ended."""
        return next((run for run in self._own if run.finished_at is not None), None)

    @property
    def _own(self) -> list[Run]:
        return [run for run in self.runs if run.exit_code != LOCK_HELD]


def _run(started_at: bytes, document: bytes) -> Run | None:
    try:
        end = _Document.model_validate_json(document)
        finished_at = None if end.finished_at is None else instants.from_text(end.finished_at)
        return Run(instants.from_text(started_at.decode()), finished_at, end.exit_code, end.summary)
    except (ValidationError, ValueError):
        logger.warning("run_unreadable", extra={"fields": {"run": started_at.decode("utf-8", "replace")[:100]}})
        return None

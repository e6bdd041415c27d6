"""How far a job is: a bar on a terminal, log lines otherwise."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

LOG_EVERY_SECONDS = 5.0


class Progress:
    """Counts `unit`s up to about `total` (None where it is not known) and shows them while it is entered."""

    def __init__(
        self, total: int | None, unit: str, description: str, *, terminal: bool, log: Callable[..., None]
    ) -> None:
        self._total, self._unit, self._description = total, unit, description
        self._log = log
        self._done = 0
        self._started = self._logged = time.monotonic()
        self._bar = tqdm(total=total, unit=f" {unit}", desc=description, disable=not terminal, leave=False)
        self._terminal = terminal

    def advance(self, count: int) -> None:
        """`count` more are done."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if not self._terminal and now - self._logged >= LOG_EVERY_SECONDS:
            self._logged = now
            self._log("progress", step=self._description, unit=self._unit, **self._figures(now - self._started))

    def _figures(self, seconds: float) -> dict[str, float | int]:
        rate = self._done / seconds
        figures: dict[str, float | int] = {"done": self._done, "per_second": round(rate)}
        if self._total is not None and self._done <= self._total and rate > 0:  # it may be an estimate, and too small
            figures |= {"total": self._total, "seconds_left": round((self._total - self._done) / rate, 1)}
        return figures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

"""What goes on beside requests goes on: a failure is told, counted, and followed by another start."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import generate_latest

from api import background
from api.background import Background
from api.metrics import Metrics


async def fail() -> None:
    raise ValueError("something unforeseen")


async def end() -> None:
    pass


async def wait_for_what_is_cancelled() -> None:
    waited_for = asyncio.create_task(asyncio.sleep(60))
    waited_for.cancel()
    await waited_for


@pytest.mark.parametrize("way", [fail, end, wait_for_what_is_cancelled])
def test_a_task_that_ends_is_told_and_counted_and_started_again(
    way: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    metrics, starts = Metrics(), list[int]()

    async def main() -> None:
        again = asyncio.Event()

        async def run() -> None:
            starts.append(len(starts))
            if len(starts) > 2:
                again.set()
                await asyncio.sleep(60)
            await way()

        tasks = Background(metrics)
        tasks.start("watch", run)
        await asyncio.wait_for(again.wait(), 5)
        await asyncio.wait_for(tasks.stop(), 5)

    asyncio.run(main())
    assert starts == [0, 1, 2]
    told = [record for record in caplog.records if record.message == "background_task_failed"]
    assert [record.levelno for record in told] == [logging.ERROR] * 2
    assert [record.fields["task"] for record in told] == ["watch"] * 2  # type: ignore[attr-defined]
    assert all(record.exc_info for record in told)
    assert b'feature_gateway_background_task_failures_total{task="watch"} 2.0' in generate_latest(metrics.registry)


def test_an_attempt_that_fails_is_told_and_counted_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    assert asyncio.run(Background(metrics).attempt("look", end))
    assert not asyncio.run(Background(metrics).attempt("look", fail))
    assert metrics.task_failures == {"look": [1]}
    assert [record.message for record in caplog.records] == ["background_task_failed"]

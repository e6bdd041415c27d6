"""A deadline ends what takes others too long, and nothing that was late by our own fault."""

import asyncio
import time

import pytest

from api.deadline import TICK_SECONDS, Deadline


def test_what_takes_too_long_is_ended() -> None:
    async def wait() -> None:
        async with Deadline(0.1):
            await asyncio.sleep(30)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(wait())
    assert 0.1 <= time.monotonic() - started < 5


def test_time_in_which_the_process_did_not_run_does_not_count() -> None:
    async def held_up() -> str:
        async with Deadline(0.2):
            for _ in range(4):
                time.sleep(0.1)  # nothing else runs here: as if another process had the CPU
                await asyncio.sleep(TICK_SECONDS / 2)
            return "in time"

    assert asyncio.run(held_up()) == "in time"


def test_a_cancellation_from_outside_stays_one() -> None:
    async def cancelled() -> None:
        async def wait() -> None:
            async with Deadline(30):
                await asyncio.sleep(30)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_what_ends_in_time_leaves_nothing_behind() -> None:
    complaints: list[dict[str, object]] = []

    async def in_time() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async with Deadline(TICK_SECONDS):
            pass
        await asyncio.sleep(3 * TICK_SECONDS)

    asyncio.run(in_time())
    assert complaints == []

"""The page tells when somebody does not answer, and goes on by itself when they do again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import expect

from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.gateway_support import GatewayProcess
from tests.page.conftest import NewLook
from tests.page.parts import answer, look_up, notices, row
from tests.page.world import seed_everything

AWAY = "The online store does not answer: features cannot be read."


@pytest.fixture
def over_own_redis(own_redis: RedisServer, own_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway over a Redis that the test may stop."""
    seed_everything(own_client)
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(tmp_path / "log", **environment) as started:
        started.wait_ready()
        yield started


def test_a_redis_that_hangs_is_told_and_so_is_its_return(
    over_own_redis: GatewayProcess, own_redis: RedisServer, new_page: NewLook
) -> None:
    page = new_page(over_own_redis.url)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        expect(notices(page)).to_contain_text(AWAY)
        expect(row(page, "Feature views", "profile")).to_contain_text("fresh")
        look_up(page, "u1")
        expect(answer(page)).to_have_text("The online store is away, or did not answer within 250 ms.")
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    expect(notices(page)).not_to_contain_text(AWAY)
    look_up(page, "u1")
    expect(answer(page)).to_contain_text("3 of 6 features have a value.")


def test_a_redis_that_is_gone_and_comes_back_empty_is_told(
    over_own_redis: GatewayProcess, own_redis: RedisServer, new_page: NewLook, own_client: redis.Redis
) -> None:
    page = new_page(over_own_redis.url)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    own_redis.stop()
    expect(notices(page)).to_contain_text(AWAY)
    own_redis.start()
    expect(notices(page)).to_contain_text("Not materialized yet: pair, profile, usage, world.")
    expect(notices(page)).to_contain_text("No materialization has run yet.")
    seed_everything(own_client)
    expect(notices(page)).to_contain_text("Not materialized yet: world.")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_gateway_that_does_not_answer_is_told_with_what_it_said_last(
    gateway: GatewayProcess, new_page: NewLook, tmp_path: Path, how: signal.Signals
) -> None:
    page = new_page(gateway.url)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    os.kill(gateway.process.pid, how)
    expect(notices(page)).to_contain_text("The gateway does not answer. What is shown here was its answer at ")
    expect(row(page, "Feature views", "profile")).to_be_visible()
    look_up(page, "u1")
    expect(answer(page)).to_have_text("The gateway does not answer.")
    if how == signal.SIGSTOP:
        os.kill(gateway.process.pid, signal.SIGCONT)
        expect(notices(page)).to_contain_text("Stale: usage.")
        return
    gateway.process.wait()
    port = gateway.url.rpartition(":")[2]
    with support.gateway_process(tmp_path / "other-log", FEATURE_PLATFORM_GATEWAY_PORT=port):
        expect(notices(page)).to_contain_text("Stale: usage.")

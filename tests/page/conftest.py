"""A real Chromium that looks at the status page of a real gateway, and whatever it complains of."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import redis
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.gateway_support import GatewayProcess
from tests.page import tools
from tests.page.world import seed_everything

# Twice the page's own patience and pause, and more: the machine may be busy.
PATIENCE_MS = 20_000
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


class Look:
    """A page, and what must not be: requests to elsewhere, and complaints of the browser or the script."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium also tells of each answer that is a refusal, which the page is made for.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


NewLook = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=tools.chromium())
        yield started
        started.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewLook]:
    """Opens pages in a profile of their own; at the end of the test the browser must have had no complaint of any."""
    looks: list[Look] = []

    def open_page(url: str, path: str = "/", **options: object) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        looks.append(Look(page))
        page.goto(f"{url}{path}")
        return page

    yield open_page
    for look in looks:
        own = urljoin(look.page.url, "/"), "data:"
        look.page.context.close()
        assert [request.url for request in look.requests if not request.url.startswith(own)] == []
        assert look.complaints == []


@pytest.fixture
def gateway(redis_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway over the whole plan, with runs and a few customers."""
    seed_everything(redis_client)
    with support.gateway_process(tmp_path / "log") as started:
        started.wait_ready()
        yield started


@pytest.fixture
def own_client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password) as client:
        yield client

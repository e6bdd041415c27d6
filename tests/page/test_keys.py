"""Where API keys are set, the page shows nothing without one."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page, expect

from tests import gateway_support as support
from tests.gateway_support import GatewayProcess
from tests.page.conftest import NewLook
from tests.page.parts import answer, look_up, row
from tests.page.world import seed_everything

KEY = "schlüssel-1"


@pytest.fixture
def locked(redis_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    seed_everything(redis_client)
    hashes = hashlib.sha256(KEY.encode()).hexdigest()
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES=hashes) as started:
        started.wait_ready()
        yield started


def give(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use the key").click()


def test_without_a_key_nothing_is_shown_and_one_is_asked_for(locked: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(locked.url)
    expect(page.get_by_role("heading", name="API key")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)
    words = page.locator("body").text_content() or ""
    for word in ("profile", "usage", "user_id", "main", "u1"):
        assert word not in words.replace(page.locator("script").text_content() or "", "")


def test_a_wrong_key_is_told_and_a_right_one_shows_everything(locked: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(locked.url)
    give(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
    expect(page.get_by_label("API key")).to_be_focused()
    expect(page.get_by_role("table")).to_have_count(0)
    give(page, KEY)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    look_up(page, "u1")
    expect(answer(page)).to_contain_text("3 of 6 features have a value.")


def test_a_key_is_kept_in_the_page_alone(locked: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(locked.url)
    give(page, KEY)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert page.url == f"{locked.url}/"
    assert KEY not in page.content()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_when_a_key_is_no_longer_valid_everything_goes(
    redis_client: redis.Redis, tmp_path: Path, new_page: NewLook
) -> None:
    seed_everything(redis_client)
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, "another")]
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES=hashes[0]) as first:
        first.wait_ready()
        page = new_page(first.url)
        give(page, KEY)
        look_up(page, "u1")
        expect(answer(page)).to_contain_text("3 of 6")
        port = first.url.rpartition(":")[2]
    environment = {"FEATURE_PLATFORM_API_KEY_HASHES": hashes[1], "FEATURE_PLATFORM_GATEWAY_PORT": port}
    with support.gateway_process(tmp_path / "other-log", **environment):
        expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
        expect(page.get_by_role("table")).to_have_count(0)
        assert "profile_table" not in page.locator("#data").inner_html()
        assert "u1" not in page.locator("#answer").inner_html()

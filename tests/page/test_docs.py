"""The page at /docs shows every call and makes it, with a key where keys are set, and needs nothing but the gateway."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value
from playwright.sync_api import Locator, Page, expect

from tests import gateway_support as support
from tests.gateway_support import GatewayProcess
from tests.page.conftest import NewLook
from tests.page.world import FILM, seed_everything

KEY = "schlüssel-1"


@pytest.fixture
def locked(redis_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    seed_everything(redis_client)
    hashes = hashlib.sha256(KEY.encode()).hexdigest()
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES=hashes) as started:
        started.wait_ready()
        yield started


def operation(page: Page, name: str) -> Locator:
    """A call, opened and ready to be made."""
    found = page.locator(f".opblock[id$={name}]")
    found.locator(".opblock-summary-control").click()
    found.get_by_role("button", name="Try it out").click()
    return found


def made(call: Locator) -> Locator:
    """The answer to a call that is made now."""
    call.get_by_role("button", name="Execute", exact=True).click()
    return call.locator(".live-responses-table")


def give(page: Page, key: str) -> None:
    """Fills "Authorize" in and closes it."""
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.get_by_role("textbox").fill(key)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").first.click()


def test_every_call_is_shown_and_one_is_made(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url, "/docs")
    document = gateway.http.get("/openapi.json").json()
    expect(page.locator(".opblock")).to_have_count(sum(map(len, document["paths"].values())))
    call = operation(page, "getFeatures")
    call.get_by_placeholder("user_id").fill("fresh")
    answer = made(call)
    expect(answer.locator("tbody .response-col_status").first).to_have_text("200")
    expect(answer).to_contain_text('"monthly_fee": 29.85')


def test_where_keys_are_set_nothing_is_shown_until_authorize_is_given_a_valid_one(
    locked: GatewayProcess, new_page: NewLook
) -> None:
    page = new_page(locked.url, "/docs")
    expect(page.get_by_text("This gateway answers only those who have a key.")).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(0)
    assert "user_id" not in (page.locator("#calls").text_content() or "")
    give(page, "wrong")
    expect(page.get_by_text("This key is not valid.")).to_be_visible()
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_role("button", name="Remove authorization").click()
    page.locator(".dialog-ux").get_by_role("button", name="Close").first.click()
    give(page, KEY)
    call = operation(page, "getFeatures")
    call.get_by_placeholder("user_id").fill("fresh")
    answer = made(call)
    expect(answer.locator("tbody .response-col_status").first).to_have_text("200")
    expect(answer).to_contain_text('"monthly_fee": 29.85')


def test_whole_numbers_keep_their_digits_in_question_and_answer(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url, "/docs")
    call = operation(page, "getFeaturesOfMany")
    call.locator("textarea").fill(
        '{"entities": {"user_id": ["u1"], "film": [4611686018427387905]}, "feature_service": "pairs"}'
    )
    answer = made(call)
    expect(answer).to_contain_text('"score": 0.5')
    expect(answer).to_contain_text('"film": 4611686018427387905')


def test_a_key_that_is_a_whole_number_keeps_its_digits(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    films = support.view("films", {"rating": "INT64"}, {"film": "INT64"})
    plan = support.plan(default_feature_service="films")
    plan["feature_views"]["films"], plan["feature_services"]["films"] = films, support.service("films:rating")
    support.publish(redis_client, plan)
    support.fill(redis_client, "films")
    support.write(redis_client, "films", FILM, {"rating": Value(int64_val=-(2**63))})
    support.wait_for(lambda: "/features/{film}" in gateway.http.get("/openapi.json").json()["paths"])
    page = new_page(gateway.url, "/docs")
    call = operation(page, "getFeatures")
    call.get_by_placeholder("film").fill(str(FILM["film"].int64_val))
    answer = made(call)
    expect(answer).to_contain_text('"film": 4611686018427387905')
    expect(answer).to_contain_text('"rating": -9223372036854775808')


def test_a_gateway_that_does_not_answer_is_told(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url, "/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    gateway.process.kill()
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".dialog-ux").get_by_role("textbox").fill("key")
    page.locator(".dialog-ux").get_by_role("button", name="Apply credentials").click()
    expect(page.get_by_text("The gateway does not answer.")).to_be_visible()

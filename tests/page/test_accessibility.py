"""Whoever cannot see, has no mouse, or looks at a small or dark screen, has the same page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from axe_playwright_python.sync_playwright import Axe
from feast.protos.feast.types.Value_pb2 import Value
from playwright.sync_api import Page, expect

from tests import gateway_support as support
from tests.gateway_support import GatewayProcess
from tests.page.conftest import PHONE, NewLook
from tests.page.parts import answer, look_up, notices, open_service, row

LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE},
    "dark-phone": {"viewport": PHONE, "color_scheme": "dark"},
}


@pytest.fixture(params=LOOKS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LOOKS[request.param]


def check(page: Page) -> None:
    """No rule of axe, best practices included, is broken."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_whole_page_breaks_no_rule(gateway: GatewayProcess, new_page: NewLook, options: dict[str, Any]) -> None:
    page = new_page(gateway.url, **options)
    look_up(page, "u1")
    expect(answer(page)).to_contain_text("3 of 6")
    for name in ("computed", "global", "pairs"):
        open_service(page, name)
        expect(page.get_by_role("table", name=f"Features of {name}")).to_be_visible()
    check(page)


def test_the_form_for_a_key_breaks_no_rule(
    redis_client: redis.Redis, tmp_path: Path, new_page: NewLook, options: dict[str, Any]
) -> None:
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES="0" * 64) as gateway:
        page = new_page(gateway.url, **options)
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Use the key").click()
        expect(page.get_by_role("alert")).to_be_visible()
        check(page)


def test_a_failure_breaks_no_rule(gateway: GatewayProcess, new_page: NewLook, options: dict[str, Any]) -> None:
    page = new_page(gateway.url, **options)
    expect(row(page, "Feature views", "profile")).to_be_visible()
    gateway.process.kill()
    expect(notices(page)).to_contain_text("The gateway does not answer.")
    check(page)


def test_everything_is_reached_and_worked_by_keyboard(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    expect(row(page, "Features of main", "devices")).to_be_visible()
    stops = list(focused(page))
    assert stops == [
        "Views", "Look-up", "Runs", "Services", "service", "join-key-0", "Look up",
        "computed", "global", "main", "pairs",
    ]  # fmt: skip
    page.get_by_label("user_id").focus()
    page.keyboard.type("u1")
    page.keyboard.press("Enter")
    expect(answer(page)).to_contain_text("3 of 6")
    page.locator("summary", has_text="pairs").focus()
    page.keyboard.press("Enter")
    expect(row(page, "Features of pairs", "score")).to_be_visible()


def focused(page: Page) -> Iterator[str]:
    """What the tabulator reaches, from the beginning."""
    page.evaluate("document.activeElement.blur()")
    while True:
        page.keyboard.press("Tab")
        name: str = page.evaluate(
            "(({id, tagName, textContent, firstChild}) => tagName === 'BODY' ? ''"
            " : ['SELECT', 'INPUT'].includes(tagName) ? id : tagName === 'SUMMARY' ? firstChild.textContent"
            " : textContent)(document.activeElement)"
        )
        if not name:
            return
        yield name


def test_what_did_not_change_is_not_read_out_again(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    look_up(page, "u1")
    expect(answer(page)).to_contain_text("3 of 6")
    page.evaluate(
        """() => {
            window.changes = 0;
            const seen = new MutationObserver((records) => window.changes += records.length);
            const options = { childList: true, characterData: true, subtree: true };
            for (const place of document.querySelectorAll("[role=status], [role=alert]")) seen.observe(place, options);
        }"""
    )
    for _ in range(2):
        with page.expect_response("**/status"):
            pass
    said = page.locator("#heard").text_content() or ""
    expect(page.locator("#heard")).not_to_have_text(said)
    assert page.evaluate("window.changes") == 0


@pytest.mark.parametrize("width", [320, 360, 641, 800, 1025, 1185, 1280])
def test_the_page_never_scrolls_sideways(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis, width: int
) -> None:
    plan = support.plan()
    long, longer = "a_rather_long_name_of_a_feature_view_with_many_words_90d_fv", "x" * 120
    plan["feature_views"][long] = support.view(long, {longer: "DOUBLE_LIST", f"{long}_mean": "STRING"})
    plan["feature_views"][longer] = support.view(longer, {"y": "STRING"})
    names = [f"{long}:{longer}", f"{long}:{long}_mean", f"{longer}:y"]
    plan["feature_services"][longer] = support.service(*names)
    support.publish(redis_client, plan)
    support.fill(redis_client, long, longer)
    values = {f"{long}_mean": Value(string_val="y" * 5_000)}
    support.write(redis_client, long, support.user("z" * 1024), values)
    page = new_page(gateway.url, viewport={"width": width, "height": 800})
    look_up(page, "z" * 1024, service=longer)
    expect(answer(page)).to_contain_text("1 of 3 features have a value.")
    open_service(page, longer)
    expect(row(page, f"Features of {longer}", "y")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

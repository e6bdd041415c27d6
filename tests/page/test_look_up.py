"""One entity's features, whatever its id and whatever they are."""

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Int64List, Value
from playwright.sync_api import expect

from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, GatewayProcess
from tests.page.conftest import NewLook
from tests.page.parts import answer, has_cells, look_up, row
from tests.page.world import FILM

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ODD_IDS = [
    "7590-VHVEG", ".", "..", "../status", "a/b", "a//b/", "?metadata=true#x", "%2F%00", "ü ñ/漢字 🎬", " leading",
    "trailing ", "'\";--", "{{id}}", "__proto__", "x" * 1024, MARKUP,
]  # fmt: skip
VALUES = [
    (Value(int64_val=2**63 - 1), "9223372036854775807"),
    (Value(int64_val=-(2**63)), "-9223372036854775808"),
    (Value(int64_list_val=Int64List(val=[1, 2**53 + 1])), "[1, 9007199254740993]"),
    (Value(double_val=0.1), "0.1"),
    (Value(double_val=1e21), "1e+21"),
    (Value(double_val=float("nan")), "null"),
    (Value(string_val=""), "(empty text)"),
    (Value(string_val="  two  blanks "), "  two  blanks "),
    (Value(bool_val=False), "false"),
]


def test_a_customer_is_shown_with_value_status_age_and_source_of_each_feature(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    support.write(redis_client, "profile", support.user("u2"), support.PROFILE, NOW - 3 * DAY)
    page = new_page(gateway.url)
    look_up(page, "u2")
    expect(answer(page)).to_contain_text("user_id “u2”: 3 of 6 features have a value.")
    table = "Features of user_id “u2” in main"
    has_cells(row(page, table, "monthly_fee"), "29.85", "PRESENT", "3 d", "profile_table")
    has_cells(row(page, table, "paperless"), "true", "PRESENT", "3 d", "profile_table")
    has_cells(row(page, table, "net_service"), "null", "NULL_VALUE", "3 d", "profile_table")
    has_cells(row(page, table, "devices"), "null", "NOT_FOUND", "", "usage_table")
    meanings = page.locator("#meanings")
    expect(meanings).to_contain_text("NULL_VALUE")
    expect(meanings).to_contain_text("NOT_FOUND")
    expect(meanings).not_to_contain_text("OUTSIDE_MAX_AGE")


def test_a_stale_value_is_null_and_told_to_be_too_old(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    look_up(page, "u1")
    has_cells(
        row(page, "Features of user_id “u1” in main", "devices"), "null", "OUTSIDE_MAX_AGE", "50 d", "usage_table"
    )
    expect(page.locator("#meanings")).to_contain_text("older than the ttl of its feature view")


def test_an_unknown_customer_is_told_and_nothing_of_the_one_before_stays(
    gateway: GatewayProcess, new_page: NewLook
) -> None:
    page = new_page(gateway.url)
    look_up(page, "u1")
    expect(page.locator("#answer-table")).to_be_visible()
    look_up(page, "nobody")
    expect(answer(page)).to_have_text("The online store holds no features of user_id “nobody”.")
    expect(page.locator("#answer-table")).to_be_hidden()
    expect(page.locator("#answer-table tbody tr")).to_have_count(0)


def test_any_text_is_an_id_and_stands_in_no_address(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    page = new_page(gateway.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ODD_IDS:
        support.write(redis_client, "profile", support.user(name), support.PROFILE)
        look_up(page, name)
        expect(page.locator("#answer-caption")).to_have_text(f"Features of user_id “{name}” in main")
        assert f"user_id “{name}”: 3 of 6 features have a value." in (answer(page).text_content() or "")
    paths = {"/features", "/feature-services", "/feature-services/main", "/status"}
    assert [url for url in asked if url.removeprefix(gateway.url) not in paths] == []
    assert page.title() == "Feature gateway"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("'x'.repeat(1025)", "user_id must be at most 1024 bytes long."), ("'\\ud800'", "The body must be JSON.")],
)
def test_an_id_that_is_refused_is_told_with_the_gateways_reason(
    gateway: GatewayProcess, new_page: NewLook, text: str, reason: str
) -> None:
    page = new_page(gateway.url)
    page.get_by_label("user_id").evaluate(f"(input) => {{ input.value = {text} }}")
    page.get_by_role("button", name="Look up").click()
    expect(answer(page)).to_contain_text(reason)


def test_markup_in_values_and_descriptions_stays_text(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    plan = support.plan()
    plan["feature_views"]["profile"]["source"] = MARKUP
    plan["feature_views"]["profile"]["features"]["net_service"]["description"] = MARKUP
    plan["feature_services"]["main"]["description"] = MARKUP
    support.publish(redis_client, plan)
    ended = {"finished_at": NOW.isoformat(), "exit_code": 0, "summary": MARKUP}
    support.show_runs(redis_client, {NOW.isoformat(): ended})
    support.write(redis_client, "profile", support.user("evil"), {"net_service": Value(string_val=MARKUP)})
    page = new_page(gateway.url)
    expect(row(page, "Features of main", "net_service")).to_contain_text(MARKUP)
    expect(page.get_by_role("table", name="Materialization runs")).to_contain_text(MARKUP)
    look_up(page, "evil")
    expect(row(page, "Features of user_id “evil” in main", "net_service").get_by_role("cell").first).to_have_text(
        MARKUP
    )
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.title() == "Feature gateway"


def test_a_value_is_shown_with_all_its_digits_and_blanks(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    page = new_page(gateway.url)
    for number, (value, shown) in enumerate(VALUES):
        support.write(redis_client, "profile", support.user(f"odd-{number}"), {"months_active": value})
        look_up(page, f"odd-{number}")
        cells = row(page, f"Features of user_id “odd-{number}” in main", "months_active").get_by_role("cell")
        expect(cells.nth(3)).to_have_text("profile_table")
        assert cells.first.text_content() == shown


def test_features_of_several_join_keys_are_looked_up_by_all_of_them(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    look_up(page, str(FILM["film"].int64_val), "u1", service="pairs")
    table = f"Features of film “{FILM['film'].int64_val}”, user_id “u1” in pairs"
    expect(row(page, table, "score").get_by_role("cell").first).to_have_text("0.5")
    expect(page.get_by_label("film")).to_be_visible()


def test_a_service_without_a_join_key_is_looked_up_as_it_is(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    support.fill(redis_client, "world")
    support.write(redis_client, "world", {"__dummy_id": Value(string_val="")}, {"rate": Value(double_val=1.25)})
    page = new_page(gateway.url)
    look_up(page, service="global")
    expect(row(page, "Features of global in global", "rate").get_by_role("cell").first).to_have_text("1.25")


@pytest.mark.parametrize(
    ("service", "ids", "reason"),
    [
        ("global", (), "Feature view world is not materialized yet."),
        ("computed", ("fresh",), "feature server"),
        ("pairs", ("three", "u1"), "film must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_gateways_reason(
    gateway: GatewayProcess, new_page: NewLook, service: str, ids: tuple[str, ...], reason: str
) -> None:
    page = new_page(gateway.url)
    look_up(page, *ids, service=service)
    expect(answer(page)).to_contain_text(reason)
    expect(page.locator("#answer-table")).to_be_hidden()


def test_nothing_is_asked_without_an_id(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    look_up(page, "")
    expect(page.get_by_label("user_id")).to_be_focused()
    expect(answer(page)).to_be_empty()

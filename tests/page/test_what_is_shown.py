"""The page shows what the gateway says, and follows it."""

from datetime import timedelta
from pathlib import Path

import redis
from playwright.sync_api import expect

from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, GatewayProcess
from tests.page.conftest import NewLook
from tests.page.parts import answer, has_cells, look_up, notices, open_service, row
from tests.page.world import MINUTE, seed_everything, shown


def test_each_feature_view_is_shown_with_its_state_watermark_age_and_ttl(
    gateway: GatewayProcess, new_page: NewLook
) -> None:
    page = new_page(gateway.url)
    usage = row(page, "Feature views", "usage")
    old = shown(NOW - 50 * DAY)
    has_cells(usage, "stale", old, "50 d", "45 d", "2", f"{old}50 d ago, took 0 s")
    expect(row(page, "Feature views", "profile")).to_contain_text(f"fresh{shown(NOW)}")
    has_cells(row(page, "Feature views", "world"), "not materialized", "", "", "45 d", "", "")
    expect(notices(page)).to_contain_text("Not materialized yet: world. ")
    expect(notices(page)).to_contain_text("Stale: usage. ")


def test_the_last_runs_are_shown_with_how_they_ended(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    rows = page.get_by_role("table", name="Materialization runs").get_by_role("row")
    expect(rows).to_have_count(6)
    has_cells(rows.nth(1), "running", "", "No end is known: it is at work, or died.")
    has_cells(rows.nth(2), "held off", "0 s", "exit 75: another run was at work")
    has_cells(rows.nth(3), "failed", "0 s", "exit 3: bad data")
    has_cells(rows.nth(4), "done", "1 min", "done: 7 rows written")
    has_cells(rows.nth(5), "died", "", "No end is known: it died.")
    expect(rows.nth(4).get_by_role("rowheader")).to_have_text(f"{shown(NOW - 3 * DAY)}3 d ago")
    expect(notices(page)).to_contain_text(f"failed at {shown(NOW - 2 * DAY)} (exit 3: bad data).")
    expect(notices(page)).to_contain_text(f"A materialization that started at {shown(NOW - MINUTE)} has not ended.")


def test_feature_services_are_shown_with_the_types_and_descriptions_of_their_features(
    gateway: GatewayProcess, new_page: NewLook
) -> None:
    page = new_page(gateway.url)
    has_cells(
        row(page, "Features of main", "monthly_fee"), "DOUBLE", "profile", "profile_table", "What is paid each month."
    )
    has_cells(row(page, "Features of main", "devices"), "INT64", "usage", "usage_table", "about usage")
    expect(page.get_by_role("group").filter(has_text="main")).to_contain_text(
        f"6 features keyed by user_id · watermark {shown(NOW - 50 * DAY)}"
    )
    open_service(page, "computed")
    has_cells(
        row(page, "Features of computed", "hours_per_device"),
        "DOUBLE", "ratio", "computed on demandfrom usage:watch_hours, usage:devices", "",
    )  # fmt: skip
    expect(page.get_by_role("group").filter(has_text="pairs")).to_contain_text("keyed by film and user_id")
    expect(page.get_by_role("group").filter(has_text="global")).to_contain_text("without a join key · not materialized")


def test_rate_failures_and_latency_of_reads_are_shown(gateway: GatewayProcess, new_page: NewLook) -> None:
    page = new_page(gateway.url)
    tiles = page.get_by_role("region", name="Traffic")
    expect(tiles).to_contain_text("no features were read")
    for _ in range(3):
        gateway.http.get("/features/u1")
    gateway.http.get("/features/u1?feature_service=global")  # refused, and no failure
    assert gateway.http.get("/features/fresh?feature_service=computed").status_code == 503
    expect(tiles).to_contain_text("5 calls that read features")
    expect(tiles.get_by_role("definition").nth(1)).to_have_text("20 %")
    for number in (2, 3):
        expect(tiles.get_by_role("definition").nth(number)).to_contain_text(" ms")


def test_what_changes_is_shown_without_a_reload(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    page = new_page(gateway.url)
    open_service(page, "pairs")
    expect(row(page, "Feature views", "usage")).to_contain_text("stale")
    page.evaluate("window.stillThere = true")
    support.fill(redis_client)
    now = NOW + timedelta(seconds=1)
    ended = {"finished_at": now.isoformat(), "exit_code": 0, "summary": "done: everything"}
    support.show_runs(redis_client, {now.isoformat(): ended})
    expect(row(page, "Feature views", "usage")).to_contain_text("fresh")
    expect(page.get_by_text("done: everything")).to_be_visible()
    expect(notices(page)).to_have_text("All 4 feature views are fresh.")
    assert page.evaluate("window.stillThere")
    expect(row(page, "Features of pairs", "score")).to_be_visible()


def test_a_new_plan_is_shown_without_a_reload(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    page = new_page(gateway.url)
    expect(row(page, "Feature views", "world")).to_be_visible()
    plan = support.plan()
    plan["feature_services"]["added"] = support.service("usage:devices")
    plan["feature_views"]["later"] = support.view("later", {"one": "INT64"})
    support.publish(redis_client, plan)
    expect(row(page, "Feature views", "later")).to_be_visible()
    expect(page.get_by_label("Feature service", exact=True).get_by_role("option", name="added")).to_have_count(1)


def test_a_feature_service_that_cannot_be_served_is_shown_with_the_reason_and_the_others_as_ever(
    gateway: GatewayProcess, new_page: NewLook, redis_client: redis.Redis
) -> None:
    page = new_page(gateway.url)
    plan = support.plan()
    plan["feature_services"]["main"]["features"] *= 2
    support.publish(redis_client, plan)
    reason = "it names 'months_active' more than once."
    expect(notices(page)).to_contain_text(f"Feature service main cannot be served: {reason}")
    broken = page.get_by_role("group").filter(has_text="main")
    expect(broken).to_contain_text("cannot be served")
    expect(broken).to_contain_text(reason)
    options = page.get_by_label("Feature service", exact=True).get_by_role("option")
    expect(options).to_have_text(["computed", "global", "pairs"])
    look_up(page, "1", "u1", service="pairs")
    expect(answer(page)).to_contain_text("have a value")
    open_service(page, "pairs")
    expect(row(page, "Features of pairs", "score")).to_be_visible()


def test_a_platform_on_which_nothing_has_run_says_so(
    redis_client: redis.Redis, tmp_path: Path, new_page: NewLook
) -> None:
    with support.gateway_process(tmp_path / "log") as gateway:
        page = new_page(gateway.url)
        expect(notices(page)).to_contain_text("No serving plan is known yet")
        expect(notices(page)).to_contain_text("No materialization has run yet.")
        expect(page.get_by_role("region", name="Materialization runs")).to_contain_text("Nothing has run yet.")
        expect(page.get_by_role("region", name="Look-up")).to_be_hidden()
        expect(page.get_by_role("region", name="Feature views").get_by_role("table")).to_be_hidden()
        support.publish(redis_client, support.plan())
        expect(notices(page)).to_contain_text("Not materialized yet: pair, profile, usage, world.")
        expect(page.get_by_role("region", name="Look-up")).to_be_visible()
        seed_everything(redis_client)
        expect(row(page, "Feature views", "profile")).to_contain_text("fresh")


def test_historic_months_that_are_served_as_the_present_are_told_as_such(
    redis_client: redis.Redis, tmp_path: Path, new_page: NewLook
) -> None:
    seed_everything(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_FRESHNESS_REFERENCE="watermark") as gateway:
        page = new_page(gateway.url)
        expect(row(page, "Feature views", "usage")).to_contain_text("historic")
        expect(notices(page)).to_contain_text("Ages are counted from the watermark, not from now")
        expect(notices(page)).not_to_contain_text("Stale")

"""The page over the sample's own months, made by the real jobs; and pictures of it, in build/page."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from feature_repo.sample import EXAMPLE_CUSTOMER, exports, generate, write_export
from jobs.instants import isoformat
from jobs.local.platform import LocalPlatform
from tests.conftest import PROJECT, REPOSITORY
from tests.page.conftest import PHONE, NewLook

PICTURES = REPOSITORY / "build" / "page"


@pytest.fixture(scope="module")
def sample(servers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Two months, ingested and materialized, and a gateway that serves the second."""
    folder = tmp_path_factory.mktemp("sample")
    platform = LocalPlatform(servers_folder / "sample", folder / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        for export in generate(months=2):
            write_export(export, folder / "exports")
        run(platform, "apply")
        for export_folder in exports(folder / "exports"):
            as_of, delivered_at = isoformat(export_folder.as_of), isoformat(export_folder.delivered_at)
            run(platform, "ingest", "--as-of", as_of, "--delivered-at", delivered_at, export_folder.path)
            run(platform, "materialize", "--as-of", as_of)
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
        yield platform
    finally:
        platform.stop()


def run(platform: LocalPlatform, module: str, *arguments: str | Path) -> None:
    outcome = platform.run_job(module, *arguments)
    assert outcome.exit_code == 0, outcome.summary


def look_up(page: Page, customer: str) -> None:
    page.get_by_label("user_id").fill(customer)
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("table", name=f"Features of user_id “{customer}” in churn_v1")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "options"),
    [("desktop", {}), ("dark", {"color_scheme": "dark"}), ("phone", {"viewport": PHONE, "device_scale_factor": 2})],
)
def test_the_sample_is_shown_as_it_was_materialized(
    sample: LocalPlatform, new_page: NewLook, name: str, options: dict[str, object]
) -> None:
    for _ in range(300):
        httpx.get(f"{sample.gateway_url}/features/{EXAMPLE_CUSTOMER}")
    page = new_page(sample.gateway_url, **options)
    for view in ("payments_agg_90d_fv", "subs_profile_fv", "support_agg_90d_fv", "usage_agg_30d_fv"):
        row = page.get_by_role("table", name="Feature views").get_by_role("row").filter(has_text=view)
        expect(row).to_contain_text("2024-02-29 00:00")
    expect(page.get_by_role("status").first).to_contain_text("feature views are materialized.")
    expect(page.get_by_role("status").first).to_contain_text("Ages are counted from the watermark")
    runs = page.get_by_role("table", name="Materialization runs")
    expect(runs).to_contain_text("done: as_of 2024-02-29T00:00:00Z")
    expect(runs.get_by_text("done", exact=True)).to_have_count(2)
    look_up(page, EXAMPLE_CUSTOMER)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="monthly_fee")).first
    for text in ("29.85", "PRESENT", "subscriptions_profile_snapshots"):
        expect(row).to_contain_text(text)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    if name == "desktop":
        page.set_viewport_size({"width": 1100, "height": 1000})
        page.screenshot(path=PICTURES / "status-page.png")

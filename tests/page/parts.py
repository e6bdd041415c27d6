"""Where things are on the page, by what assistive technology finds them by."""

from playwright.sync_api import Locator, Page, expect


def notices(page: Page) -> Locator:
    """What is the matter, in sentences."""
    return page.get_by_role("status").first


def row(page: Page, table: str, name: str) -> Locator:
    """The row of a table that its first cell names."""
    rows = page.get_by_role("table", name=table).get_by_role("row")
    return rows.filter(has=page.get_by_role("rowheader", name=name, exact=True))


def look_up(page: Page, *ids: str, service: str = "main") -> None:
    """Asks for an entity."""
    page.get_by_label("Feature service", exact=True).select_option(service)
    for number, text in enumerate(ids):
        page.locator("#keys input").nth(number).fill(text)
    page.get_by_role("button", name="Look up").click()


def open_service(page: Page, name: str) -> None:
    """Opens the description of a feature service."""
    page.locator("summary").filter(has=page.get_by_text(name, exact=True)).click()


def answer(page: Page) -> Locator:
    """What the look-up says, in a sentence."""
    return page.locator("#answer")


def has_cells(found: Locator, *texts: str) -> None:
    """The cells of a row behind its first hold these texts, in this order."""
    expect(found.get_by_role("cell")).to_have_text(list(texts))

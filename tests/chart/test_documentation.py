"""The chart's README documents every value as it is."""

import pytest

from charts.document_values import CHART, END, START, chart_values, documented, values_table

README = (CHART / "README.md").read_text()


def test_the_values_in_the_readme_are_current() -> None:
    assert documented(README, values_table(chart_values())) == README, "run `make chart-docs`"


def test_every_value_has_its_row() -> None:
    rows = [line.split("`")[1] for line in values_table(chart_values()).splitlines() if line.startswith("| `")]
    paths = [value.path for value in chart_values() if not value.is_section]
    assert sorted(row for row in rows if not row.endswith(".*")) == sorted(paths)


def test_the_text_around_the_table_stays() -> None:
    before, after = "# Title\n\n", "\n## After\n"
    written = documented(f"{before}{START}\nold\n{END}{after}", "new\n")
    assert written == f"{before}{START}\n\nnew\n\n{END}{after}"


@pytest.mark.parametrize("readme", ["", START, END, f"{END}\n{START}"])
def test_a_readme_without_both_markers_is_refused(readme: str) -> None:
    with pytest.raises(SystemExit, match="needs a line"):
        documented(readme, "table")

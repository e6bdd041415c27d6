"""What holds for every rule, and which values leave rules out or change them."""

import re

import pytest

from api.metrics import Metrics
from charts.document_values import chart_values
from tests.chart.rendering import CHART, refusal
from tests.chart.value_changes import nested
from tests.rules import promtool
from tests.rules.rendered import NAMESPACE, RELEASE, Rule, alerts, names, rule_file, rules

each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda rule: rule["alert"])
(CHOICES,) = {
    tuple(value.schema["enum"])
    for value in chart_values()
    if value.path.startswith("slo.latency.") and value.path.endswith(".seconds")
}
RECORDED = re.compile(r"[a-z_]+:[a-z_]+:\w+")


def test_promtool_finds_nothing_wrong() -> None:
    printed = promtool.run("check", "rules", "rules.yaml", files={"rules.yaml": rule_file()})
    assert f"SUCCESS: {len(rules())} rules found" in printed


def test_rules_for_freshness_by_the_watermark_are_right_too() -> None:
    text = rule_file(values={"freshnessReference": "watermark", "materialization": {"suspend": True}})
    assert "SUCCESS" in promtool.run("check", "rules", "rules.yaml", files={"rules.yaml": text})


@each_alert
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(alert: Rule) -> None:
    assert "for" in alert
    assert alert["labels"].items() >= {"namespace": NAMESPACE, "release": RELEASE}.items()
    assert alert["labels"]["severity"] in {"critical", "warning", "none"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(text.endswith((".", ".md")) for text in alert["annotations"].values())


def test_a_recorded_series_is_used_and_a_used_one_recorded() -> None:
    used = {name for alert in alerts() for name in RECORDED.findall(alert["expr"])}
    assert used == {rule["record"] for rule in rules() if "record" in rule}


def test_the_ages_are_of_no_account_where_they_are_counted_from_the_watermark() -> None:
    text = rule_file(values={"freshnessReference": "watermark"})
    assert names() - names(text) == {"FeaturesTooOld", "FeaturesExpired"}


def test_a_schedule_that_is_suspended_on_purpose_is_no_alert() -> None:
    text = rule_file(values={"materialization": {"suspend": True}})
    assert names() - names(text) == {"MaterializationSuspended"}


def test_postgres_is_watched_where_its_exporter_is() -> None:
    text = rule_file(values={"postgres": {"exporter": {"enabled": False}}})
    assert names() - names(text) == {"PostgresDown"}


def test_the_charts_readme_names_every_alert_with_its_severity() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (critical|warning|none) \|", (CHART / "README.md").read_text(), flags=re.MULTILINE
    )
    assert sorted(rows) == sorted({(alert["alert"], alert["labels"]["severity"]) for alert in alerts()})


@pytest.mark.parametrize("base", ["https://git.example/runbooks", "https://git.example/runbooks/"])
def test_runbooks_are_where_the_values_say(base: str) -> None:
    text = rule_file(values={"alerts": {"runbookUrl": base}})
    assert {rule["annotations"]["runbook_url"] for rule in alerts(text)} == {
        f"https://git.example/runbooks/{name}.md" for name in names()
    }


@pytest.mark.parametrize("seconds", CHOICES)
def test_latency_is_aimed_at_bounds_as_the_gateway_writes_them(seconds: float) -> None:
    metrics = Metrics()
    metrics.request("/features/{id}", "GET", 200, 0.1)
    bounds = {sample.labels.get("le") for family in metrics.registry.collect() for sample in family.samples}
    quickest, slowest = min(CHOICES), max(CHOICES)
    other = ("tail", slowest) if seconds == quickest else ("typical", quickest)
    both = dict([other, ("typical" if seconds == quickest else "tail", seconds)])
    text = rule_file(values={"slo": {"latency": {name: {"seconds": value} for name, value in both.items()}}})
    asked = set(re.findall(r'le="([^"]+)"', text))
    assert len(asked) == 2
    assert asked <= bounds


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("slo.latency.typical.seconds", 0.02),  # no bound of the histogram
        ("slo.burn.fast.longWindow", "1h30m"),
        ("alerts.materializationLate.after", "24"),
        ("alerts.featuresTooOld.share", 90),
        ("alerts.runbookUrl", "runbooks"),
    ],
)
def test_a_value_that_no_rule_can_be_made_of_is_refused_and_named(path: str, value: object) -> None:
    assert path.replace(".", "/") in refusal(values=nested(path, value))

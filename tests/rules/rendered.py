"""The rules as the chart renders them for a release, with its default values and what those leave out."""

import functools
from typing import Any

import yaml

from tests.chart.branches import merged
from tests.chart.rendering import Values, render

RELEASE, NAMESPACE = "features", "feature-platform"
NAME = "features-feature-platform"
# One alert belongs to an exporter, which is off by default.
ON = {"monitoring": {"prometheusRule": {"enabled": True}}, "postgres": {"exporter": {"enabled": True}}}

Rule = dict[str, Any]


def rule_file(release: str = RELEASE, namespace: str = NAMESPACE, values: Values | None = None) -> str:
    """A rule file of Prometheus."""
    (made,) = render(release=release, namespace=namespace, values=merged(ON, values or {})).of_kind("PrometheusRule")
    return yaml.safe_dump(made["spec"], sort_keys=False)


@functools.cache
def rules() -> list[Rule]:
    """Every rule, recording ones among them."""
    return [rule for group in yaml.safe_load(rule_file())["groups"] for rule in group["rules"]]


def alerts(text: str = "") -> list[Rule]:
    """Every alerting rule, of a rule file or of the defaults."""
    of = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]] if text else rules()
    return [rule for rule in of if "alert" in rule]


def names(text: str = "") -> set[str]:
    """The names of the alerts."""
    return {rule["alert"] for rule in alerts(text)}

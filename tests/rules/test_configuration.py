"""The bundled Prometheus takes the configuration that the chart renders, and with it the rules."""

from typing import Any

import pytest
import yaml

from tests.chart.branches import Branch, branches
from tests.rules import promtool

MOUNTED = "/etc/prometheus/"


def bundled(branch: Branch) -> dict[str, str] | None:
    """The files of the branch's Prometheus, where it has one."""
    found = [one for one in branch.render().of_kind("ConfigMap") if one["metadata"]["name"].endswith("-prometheus")]
    return found[0]["data"] if found else None


BUNDLED = {branch.name: found for branch in branches() if (found := bundled(branch))}


@pytest.fixture(params=BUNDLED)
def files(request: pytest.FixtureRequest) -> dict[str, str]:
    return {name: text.replace(MOUNTED, "") for name, text in BUNDLED[request.param].items()}


def test_prometheus_takes_the_configuration_and_the_rules_that_it_names(files: dict[str, str]) -> None:
    said = promtool.run("check", "config", "--lint=all", "--lint-fatal", "prometheus.yaml", files=files)
    assert "SUCCESS: 1 rule files found" in said


def test_a_configuration_that_prometheus_would_refuse_is_found(files: dict[str, str]) -> None:
    configuration: dict[str, Any] = yaml.safe_load(files["prometheus.yaml"])
    configuration["scrape_configs"][0]["dns_sd_configs"][0]["type"] = "AAAAA"
    with pytest.raises(promtool.Refused, match="AAAAA"):
        promtool.run("check", "config", "prometheus.yaml", files={**files, "prometheus.yaml": yaml.dump(configuration)})


def test_jobs_are_the_services_that_stand_for_them(files: dict[str, str]) -> None:
    for job in yaml.safe_load(files["prometheus.yaml"])["scrape_configs"]:
        (discovery,) = job["dns_sd_configs"]
        assert discovery["names"] == [job["job_name"]]

"""The notes after an installation report what was configured, and their commands name what is there."""

import re
import subprocess

import pytest

from tests.chart.branches import Branch, branch, branches
from tests.chart.manifests import Manifest

each_branch = pytest.mark.parametrize("branch", branches(), ids=lambda branch: branch.name)
KINDS = {"svc": "Service", "cronjob": "CronJob"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("defaults", ["bundled Postgres, a volume of 10Gi", "bundled Redis, a volume of 2Gi", "2 pod(s), no API keys",
                      "inside the cluster only", "annotated pods; metrics of gateway, feature-server\n",
                      '"0 6 1-10 * *" Etc/UTC', "volume streamflow-feature-platform-trai"]),
        ("no-persistence", ["bundled Postgres, NO VOLUME", "bundled Redis, NO VOLUME"]),
        ("external-stores-tls", ["Postgres at postgres.example:5433/features, sslmode verify-full",
                                 "redis at redis.example:6380,db=2, TLS"]),
        ("sentinel", ["redis_sentinel at sentinel-0.example:26379,"]),
        ("autoscaling", ["3 to 6 pods"]),
        ("api-keys", ["API keys asked for"]),
        ("ingress-tls", ["Ingress for features.example"]),
        ("http-route", ["HTTPRoute for features.example"]),
        ("ingest-schedule", ["materialization  SUSPENDED", 'from volume exports, "30 2 * * *" Europe/Berlin']),
        ("ingest-job", ["from volume exports, once, now"]),
        ("sample-data", ["3 invented months"]),
        ("ray", ['"0 6 1-10 * *" Etc/UTC, on 4 Ray worker(s) of its own']),
        ("kuberay", ["on ray://feature-platform-ray-head-svc:10001"]),
        ("prometheus-operator", ["a ServiceMonitor; metrics of gateway, feature-server, postgres, redis"]),
        ("prometheus-bundled", ["annotated pods, a Prometheus of its own that keeps 30d; metrics of gateway,"]),
        ("training-set-url", ["s3://features/training-sets/, now building 2024-01-31 to 2024-05-31"]),
    ],
)  # fmt: skip
def test_notes_report_what_was_configured(name: str, said: list[str]) -> None:
    report = branch(name).notes()
    assert [fragment for fragment in said if fragment not in report] == []


@pytest.mark.parametrize(
    ("name", "unfit"),
    [
        ("defaults", {"The bundled Postgres", "The bundled Redis", "gateway.apiKeys"}),
        ("external-stores-tls", {"gateway.apiKeys"}),
        ("no-persistence", {"postgres.persistence.enabled", "redis.persistence.enabled", "The bundled Postgres",
                            "The bundled Redis", "gateway.apiKeys", "networkPolicy.enabled"}),
        ("sample-data", {"sampleData.enabled", "freshnessReference", "The bundled Postgres", "The bundled Redis",
                         "gateway.apiKeys"}),
        ("ingest-schedule", {"materialization.suspend", "The bundled Postgres", "The bundled Redis",
                             "gateway.apiKeys"}),
    ],
)  # fmt: skip
def test_notes_say_what_is_not_fit_for_production(name: str, unfit: set[str]) -> None:
    _, _, listed = branch(name).notes().partition("Not fit for production:")
    points = re.findall(r"^  - (.+)$", listed, re.MULTILINE)
    assert {start for start in unfit for point in points if point.startswith(start)} == unfit
    assert len(points) == len(unfit), points


def test_notes_complain_of_one_gateway_and_of_clear_text() -> None:
    said = branch("defaults").notes({"gateway": {"replicas": 1}, "ingress": {"enabled": True}})
    assert "gateway.replicas is 1" in said
    assert "ingress.tlsSecret is empty" in said


def test_notes_warn_of_a_ray_cluster_that_everyone_reaches() -> None:
    warning = "ray.enabled without networkPolicy.enabled"
    assert warning in branch("ray").notes({"networkPolicy": {"enabled": False}})
    assert warning not in branch("ray").notes()


def test_notes_warn_of_invented_months_that_are_long_ago() -> None:
    warning = "their values are null with status OUTSIDE_MAX_AGE"
    assert warning in branch("defaults").notes({"sampleData": {"enabled": True}})
    assert warning not in branch("sample-data").notes()


def test_notes_complain_of_nothing_where_nothing_is_wrong() -> None:
    said = branch("external-stores-tls").notes({"gateway": {"apiKeys": {"existingSecret": "keys"}}})
    assert "Not fit for production" not in said


@each_branch
def test_the_objects_that_the_notes_name_exist(branch: Branch) -> None:
    rendered = {(one["kind"], one["metadata"]["name"]): one for one in branch.render().objects}
    told = branch.notes()
    named = re.findall(r"\b(svc|cronjob)/(\S+)(?: \d+:(\d+))?", told)
    assert len(named) >= 3
    for kind, name, port in named:
        found = rendered[KINDS[kind], name]
        assert not port or int(port) in ports(found)


@each_branch
def test_the_commands_of_the_notes_are_a_shells(branch: Branch) -> None:
    commands = re.findall(r"^  ((?:kubectl|helm|curl) .+)$", branch.notes(), re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    assert any("curl -s" in command for command in commands)


def test_the_curl_line_shows_a_key_where_keys_are_asked_for() -> None:
    assert 'curl -s localhost:8080/feature-services -H "Authorization: Bearer $API_KEY"' in branch("api-keys").notes()
    assert "Authorization" not in branch("defaults").notes()


def ports(service: Manifest) -> list[int]:
    return [port["port"] for port in service["spec"]["ports"]]

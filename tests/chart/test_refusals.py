"""What cannot work is refused before anything changes, with a sentence that says what to change."""

import re
from typing import Any

import pytest

from tests.chart.branches import merged
from tests.chart.rendering import CHART, refusal, render
from tests.chart.value_changes import nested

ELSEWHERE: dict[str, Any] = {
    "postgres": {"enabled": False},
    "externalPostgres": {"host": "postgres.example"},
    "credentials": {"postgres": {"owner": {"existingSecret": "owner"}}},
    "redis": {"enabled": False},
    "externalRedis": {"connectionString": "redis.example:6379"},
}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gateway.replicas", 0, "minimum: got 0, want 1"),
        ("gateway.replicas", "2", "got string, want integer"),
        ("gateway.service.type", "ExternalName", "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ("gateway.service.port", 70000, "maximum: got 70,000, want 65,535"),
        ("gateway.podDisruptionBudget.maxUnavailable", "half", "'half' does not match pattern"),
        ("gateway.podDisruptionBudget.maxUnavailable", 0, "minimum: got 0, want 1"),
        ("gateway.apiKeys.hashes", ["secret"], "'secret' does not match pattern"),
        ("gateway.tracing.otlpEndpoint", "collector:4318", "'collector:4318' does not match pattern"),
        ("gateway.tracing.otlpEndpoint", "http://user:password@collector:4318", "does not match pattern"),
        ("gateway.autoscaling.targetCPUUtilizationPercentage", 101, "maximum: got 101, want 100"),
        ("gateway.extraEnv", {"NAME": "value"}, "got object, want array"),
        ("gateway.resources.requests", {"cpu": True}, "got boolean, want"),
        ("image.pullPolicy", "always", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("image.repository", "", "minLength: got 0, want 1"),
        ("fullnameOverride", "With.Dots", "'With.Dots' does not match pattern"),
        ("fullnameOverride", "with.dots", "'with.dots' does not match pattern"),
        ("fullnameOverride", "1-digit", "'1-digit' does not match pattern"),
        ("nameOverride", "1-digit", "'1-digit' does not match pattern"),
        ("project", "with space", "'with space' does not match pattern"),
        ("project", "with-hyphen", "'with-hyphen' does not match pattern"),
        ("freshnessReference", "yesterday", "value must be one of 'now', 'watermark'"),
        ("postgres.persistence.size", "ten gigabytes", "'ten gigabytes' does not match pattern"),
        ("redis.maxMemory", "half", "'half' does not match pattern"),
        ("externalPostgres.sslMode", "on", "value must be one of 'disable', 'allow',"),
        ("externalRedis.connectionString", "user:password@redis.example:6379", "does not match pattern"),
        ("externalRedis.connectionString", "redis.example", "'redis.example' does not match pattern"),
        ("externalRedis.connectionString", "redis.example:6379,password=x", "does not match pattern"),
        ("externalRedis.connectionString", "::1:6379", "'::1:6379' does not match pattern"),
        ("externalRedis.connectionString", "[redis.example]:6379", "does not match pattern"),
        ("externalRedis.connectionString", "redis.example:6379,sentinel_password=x", "does not match pattern"),
        ("externalRedis.type", "cluster", "value must be one of 'redis', 'redis_sentinel', 'redis_cluster'"),
        ("credentials.redis.jobs.username", "", "minLength: got 0, want 1"),
        ("credentials.postgres.owner.existingSecret", "Not_A_Name", "'Not_A_Name' does not match pattern"),
        ("materialization.schedule", "daily", "'daily' does not match pattern"),
        ("materialization.timeZone", "", "minLength: got 0, want 1"),
        ("materialization.activeDeadlineSeconds", 0, "minimum: got 0, want 1"),
        ("apply.backoffLimit", -1, "minimum: got -1, want 0"),
        ("ray.address", "ray-head:10001", "'ray-head:10001' does not match pattern"),
        ("ray.address", "ray://user@ray-head:10001", "does not match pattern"),
        ("ray.worker.replicas", 0, "minimum: got 0, want 1"),
        ("trainingSet.start", "January", "'January' does not match pattern"),
        ("trainingSet.labelHorizon", "month", "'month' does not match pattern"),
        ("trainingSet.persistence.accessMode", "ReadOnlyMany", "value must be one of 'ReadWriteOnce',"),
        ("prometheus.retention", "a month", "'a month' does not match pattern"),
        ("prometheus.scrapeInterval", "15", "'15' does not match pattern"),
        ("monitoring.serviceMonitor.interval", "", "'' does not match pattern"),
        ("ingest.asOf", "31.01.2024", "'31.01.2024' does not match pattern"),
        ("ingest.schedule", "daily", "'daily' does not match pattern"),
        ("sampleData.months", 25, "maximum: got 25, want 24"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_and_named(path: str, value: object, said: str) -> None:
    whole = refusal(values=nested(path, value))
    assert said in whole
    assert "/" + path.replace(".", "/") in whole


@pytest.mark.parametrize("path", ["gateway.replicas", "postgres.persistence", "ingress"])
def test_a_default_that_null_takes_away_is_missed(path: str) -> None:
    section, _, key = path.rpartition(".")
    whole = refusal(values=nested(path, None))
    assert f"missing property '{key}'" in whole
    assert section.replace(".", "/") in whole


# Each sentence of templates/_checks.tpl, with values that bring it forth.
IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"ingress": {"enabled": True}, "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]}},
     "ingress.enabled and httpRoute.enabled are both true; the gateway is published one way: set one"),
    ({"httpRoute": {"enabled": True}},
     "httpRoute.enabled needs httpRoute.parentRefs: name the Gateway, as in parentRefs: [{name: traefik, namespace:"),
    ({"externalPostgres": {"host": "postgres.example"}},
     "externalPostgres.host is set and the bundled Postgres is on; set postgres.enabled to false to use"),
    (merged(ELSEWHERE, {"externalPostgres": {"host": ""}}),
     "postgres.enabled is false and no other Postgres is named; set externalPostgres.host."),
    (merged(ELSEWHERE, nested("credentials.postgres.owner.existingSecret", "")),
     "An external Postgres needs its owner's login: set credentials.postgres.owner.existingSecret to a Secret with"),
    ({"externalRedis": {"connectionString": "redis.example:6379"}},
     "externalRedis.connectionString is set and the bundled Redis is on; set redis.enabled to false to use"),
    (merged(ELSEWHERE, {"externalRedis": {"connectionString": ""}}),
     "redis.enabled is false and no other Redis is named; set externalRedis.connectionString, as in"),
    (merged(ELSEWHERE, nested("externalRedis.tls.caSecret.name", "ca")),
     "externalRedis.tls.caSecret is set and externalRedis.tls.enabled is false; set it to true."),
    (merged(ELSEWHERE, nested("postgres.exporter.enabled", True)),
     "postgres.exporter.enabled is true and the bundled Postgres is off; an external Postgres has an exporter of"),
    (merged(ELSEWHERE, nested("redis.exporter.enabled", True)),
     "redis.exporter.enabled is true and the bundled Redis is off; an external Redis has an exporter of"),
    (nested("credentials.postgres.exporter.password", "isn't"),
     "credentials.postgres.exporter.password holds ' or \\, where postgres_exporter takes it apart and shows the rest"),
    (nested("credentials.redis.jobs", {"existingSecret": "jobs", "password": "given"}),
     "credentials.redis.jobs has both existingSecret and password; the password is in the Secret: leave"),
    (nested("gateway.apiKeys", {"existingSecret": "keys", "hashes": ["0" * 64]}),
     "gateway.apiKeys has both existingSecret and hashes; keep one."),
    (nested("gateway.autoscaling", {"enabled": True, "minReplicas": 5, "maxReplicas": 3}),
     "gateway.autoscaling.minReplicas 5 is more than maxReplicas 3."),
    (nested("gateway.terminationGracePeriodSeconds", 20),
     "gateway.terminationGracePeriodSeconds 20 is too short: after gateway.preStopSeconds 10 the gateway takes up to"),
    (nested("ray", {"enabled": True, "address": "ray://ray-head:10001"}),
     "ray.address is set and the release's own Ray cluster is on; set ray.enabled to false to use the other one."),
    (nested("trainingSet.start", "2024-01-31"),
     "trainingSet names one end of a window; set both start and end, or neither."),
    (nested("trainingSet", {"outputUrl": "s3://sets", "persistence": {"existingClaim": "sets"}}),
     "trainingSet has both outputUrl and persistence.existingClaim; training sets go to one place: keep one."),
    (nested("ingest.enabled", True),
     "ingest.enabled needs ingest.existingClaim, the PersistentVolumeClaim that holds the exports."),
    (nested("ingest", {"enabled": True, "existingClaim": "exports", "schedule": "0 3 * * *", "asOf": "2024-01-31"}),
     "ingest has both schedule and asOf; on a schedule every export in the volume is taken: leave asOf out."),
    (nested("ingest", {"enabled": True, "existingClaim": "exports", "deliveredAt": "2024-02-01"}),
     "ingest.deliveredAt belongs to one export; set ingest.asOf too."),
    (nested("slo.latency.typical.seconds", 0.05),
     "slo.latency.typical.seconds 0.05 is not less than slo.latency.tail.seconds 0.05; the tail is what takes longer."),
    (nested("slo.availability.objective", 93),
     "slo.burn.fast.factor 14.4 times what slo.availability.objective 93 leaves is more than all requests"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "said"), IMPOSSIBLE, ids=lambda part: part[:40] if isinstance(part, str) else "")
def test_an_impossible_combination_is_refused_with_what_to_change(values: dict[str, Any], said: str) -> None:
    lines = refusal(values=values).splitlines()
    # Around it stand the first and the last line of Helm's own.
    sentences = [line for line in lines if line and not line.startswith(("Error:", "Use --debug"))]
    assert len(sentences) == 1
    assert said in sentences[0]


def test_every_sentence_of_the_checks_is_tried() -> None:
    written = re.findall(r"append \$wrong", (CHART / "templates" / "_checks.tpl").read_text())
    assert len(written) == len(IMPOSSIBLE) == len({said for _, said in IMPOSSIBLE})


def test_everything_wrong_is_said_at_once() -> None:
    (one, first), (other, second) = IMPOSSIBLE[0], IMPOSSIBLE[-1]
    said = refusal(values=merged(one, other))
    assert first in said
    assert second in said


@pytest.mark.parametrize("seconds", [21, 30])
def test_a_grace_that_is_just_long_enough_is_taken(seconds: int) -> None:
    assert render(values=nested("gateway.terminationGracePeriodSeconds", seconds)).objects

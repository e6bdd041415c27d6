"""Another value for each value of the chart: one that the schema allows and that differs from what is there."""

from typing import Any

from jsonschema import Draft202012Validator

from charts.document_values import Schema, Value

PEERS = [{"ipBlock": {"cidr": "198.51.100.0/24"}}]
# What a key of this name may hold in any place; what is not here is found from the schema.
BY_NAME: dict[str, Any] = {
    "address": "ray://changed:10001",
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "changed", "operator": "Exists"}]}]}}},
    "after": "7d",
    "annotations": {"example.com/changed": "yes"},
    "asOf": "2023-11-30",
    "connectionString": "changed:6390",
    "deliveredAt": "2023-12-01T12:00:00Z",
    "egress": [{"to": PEERS}],
    "end": "2023-12-31",
    "extraEnv": [{"name": "CHANGED", "value": "yes"}],
    "extraVolumeMounts": [{"name": "tmp", "mountPath": "/changed"}],
    "extraVolumes": [{"name": "changed", "emptyDir": {}}],
    "featureServerFrom": PEERS,
    "for": "7m",
    "fullnameOverride": "changed-name",
    "gatewayFrom": PEERS,
    "interval": "7s",
    "hashes": ["c0ffee" * 10 + "c0ff"],
    "labelHorizon": "3mo",
    "labels": {"changed": "yes"},
    "limits": {"cpu": "7", "memory": "7Gi"},
    "longWindow": "7h",
    "maxMemory": "77mb",
    "maxUnavailable": 7,
    "metricsFrom": PEERS,
    "nameOverride": "changed-name",
    "nodeSelector": {"changed": "yes"},
    "otlpEndpoint": "http://changed:4318",
    "outputUrl": "s3://changed/sets",
    "parameters": {"work_mem": "7MB"},
    "parentRefs": [{"name": "changed"}],
    "podAnnotations": {"example.com/changed": "yes"},
    "podLabels": {"example.com/changed": "yes"},
    "requests": {"cpu": "77m", "memory": "77Mi"},
    "retention": "77d",
    "runbookUrl": "https://changed.example",
    "schedule": "7 7 * * *",
    "scrapeInterval": "7s",
    # The one bound between the two that are set.
    "seconds": 0.025,
    "shortWindow": "7m",
    "size": "77Gi",
    "start": "2023-10-31",
    "storesTo": PEERS,
    "tolerations": [{"key": "changed", "operator": "Exists"}],
    "topologySpreadConstraints": [{"maxSkew": 7, "topologyKey": "changed", "whenUnsatisfiable": "ScheduleAnyway"}],
    "window": "7m",
}  # fmt: skip


# What must be said too, and does nothing by itself.
TOGETHER: dict[str, Any] = {
    "postgres.enabled": {"externalPostgres": {"host": "192.0.2.1"}, "postgres": {"exporter": {"enabled": False}}},
    "redis.enabled": {
        "externalRedis": {"connectionString": "192.0.2.1:6379"},
        "redis": {"exporter": {"enabled": False}},
    },
}


def changed(value: Value, current: Any) -> Any:
    """A value that may stand in the place of the current one, and does not equal it.

    A text becomes one that looks like a number where the schema allows that: a template must quote it.
    """
    name = value.path.rpartition(".")[2]
    candidates = [BY_NAME[name]] if name in BY_NAME else _from_schema(value.schema, current)
    validator = Draft202012Validator(value.schema)
    return next(candidate for candidate in candidates if candidate != current and validator.is_valid(candidate))


def _from_schema(schema: Schema, current: Any) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    match schema["type"]:
        case "boolean":
            return [not current]
        case "integer":
            return [current + 1, current - 1]
        case "number":
            return [current * 0.99]
        case "array":
            return [[item] for item in _from_schema(schema["items"], None)]
    return ["77", "78", "changed"]


def nested(path: str, value: Any) -> dict[str, Any]:
    """The tree of values that holds one value at a dotted path."""
    key, _, rest = path.partition(".")
    return {key: nested(rest, value) if rest else value}

"""The OpenAPI document, made from the serving plan: join keys, services and features under their own names."""

from typing import Any

from api import VERSION, entity_key, inputs
from api.selection import Selector

TITLE = "Feature gateway"
_ABOUT = """Serves the features of one entity, or of many, as they were last materialized.

Every feature has a status: PRESENT; NULL_VALUE (the source has no value: "does not apply" or "unknown");
OUTSIDE_MAX_AGE (older than the feature view's ttl); NOT_FOUND (never written for this entity). The value is null
unless the status is PRESENT. What is computed on demand is what a training set would hold: the function runs also where
an input is NULL or not found, the status is that of the result, and `inputs_status` names the worst of its inputs; with
an input that is too old, the value is null and OUTSIDE_MAX_AGE.

64-bit integers keep all digits, bytes are base64, timestamps are seconds since 1970,
NaN and the infinities are null with the status NULL_VALUE (texts in Feast's protocol). Instants are UTC, ages are
seconds. Errors are RFC 9457 problems: `type` names the kind, `detail` says what to do."""
_BASE64 = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)$",
    "maxLength": 4 * -(-entity_key.MAX_KEY_BYTES // 3),
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": entity_key.MAX_KEY_BYTES}
_DECIMAL = {"type": "string", "pattern": "^-?[0-9]+$", "maxLength": 20}
# What the parser of JSON takes for a whole number.
_WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
_STATUSES = ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
_PROBLEMS = {
    "401": "An API key is asked for, and none of the valid ones was sent.",
    "404": "Unknown: no feature view of the service holds a row of this entity.",
    "408": "The body was not whole within 30 s; the connection is closed.",
    "412": "A feature is older than max_age.",
    "413": f"More than {inputs.MAX_ROWS} entities, or a body above {inputs.MAX_BODY_BYTES} bytes.",
    "422": "Something in the request is not as documented; `detail` names it.",
    "500": "The gateway failed, or the online store holds bytes that are no value.",
    "502": "The function of an on-demand feature view fails, though none of its inputs is missing; `detail` names it.",
    "503": "The online store or the feature server did not answer, the features are not materialized yet, or what the "
    "serving plan says of them cannot be served, or there is no room for as many callers, large bodies or large "
    "answers at once. Ask again after the seconds in Retry-After.",
}
Json = dict[str, Any]


def document(selector: Selector | None) -> Json:
    """OpenAPI 3.1; without a plan, join keys and features have placeholder names."""
    names = _Names(selector)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": _ABOUT},
        "paths": {
            f"/features/{{{names.key}}}": {"get": _one(names)},
            "/features": {"post": _many(names)},
            "/get-online-features": {"post": _feast(names)},
            "/feature-services": {"get": _services()},
            "/feature-services/{name}": {"get": _service(names)},
            "/status": {"get": _status()},
            "/livez": {"get": _probe("Alive: the process answers", "alive")},
            "/readyz": {"get": _ready()},
            "/health": {"get": _probe("The same as /livez, for callers that look for ok", "ok")},
        },
        "components": {
            "schemas": {
                "Problem": _PROBLEM,
                "Metadata": _METADATA,
                "FeatureReference": {"type": "string", "enum": names.known_references},
                "Feature": {"type": "string", "enum": [*names.known_names, *names.known_references]},
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Only if keys are set."}},
        },
    }


class _Names:
    """What can be asked for by name, and what the examples show: the default feature service and its join key."""

    def __init__(self, selector: Selector | None) -> None:
        self.service, self.features, self.references = "my_service", {"my_feature": 1.5}, ["my_view:my_feature"]
        self.keys = self.all_keys = {"id": "STRING"}
        self.key_names = {self.service: ["id"]}
        self.default = self.service
        self.known_names, self.known_references = list(self.features), self.references
        if selector is not None:
            self._take(selector)
        self.by_one_key = {name: keys[0] for name, keys in self.key_names.items() if len(keys) == 1}
        self.one = self.service if self.service in self.by_one_key else next(iter(self.by_one_key), self.service)
        self.key = self.by_one_key.get(self.one, "id")
        self.kind = self.all_keys.get(self.key, "STRING")
        self.id = _example(self.kind)

    def _take(self, selector: Selector) -> None:
        plan, services = selector.plan, selector.services
        default = plan.default_feature_service
        self.service, self.default = default if default in services else min(services), default or "none"
        selection = services[self.service]
        self.keys = {key.name: key.type for key in selection.join_keys}
        self.features = {asked.name: _example(_type(selector, asked.view, asked.feature)) for asked in selection.asked}
        self.references = [asked.reference for asked in selection.asked[:2]]
        self.all_keys = {key.name: key.type for view in plan.feature_views.values() for key in view.join_keys}
        self.key_names = {name: [key.name for key in services[name].join_keys] for name in sorted(services)}
        self.known_names = sorted({asked.name for service in services.values() for asked in service.asked})
        stored = [(name, feature) for name, view in plan.feature_views.items() for feature in view.features]
        computed = [(name, feature) for name, view in plan.on_demand_feature_views.items() for feature in view.features]
        self.known_references = [
            f"{name}:{feature}" for name, feature in stored + computed if plan.flaw(name, feature) is None
        ]

    @property
    def services(self) -> list[str]:
        return list(self.key_names)

    @property
    def entities(self) -> Json:
        return {name: [_example(kind), _example(kind, 1)] for name, kind in self.keys.items()}

    def row(self) -> Json:
        return {name: _example(kind) for name, kind in self.keys.items()} | {"features": self.features}


def _type(selector: Selector, view: str, feature: str) -> str:
    plan = selector.plan
    if view in plan.feature_views:
        return plan.feature_views[view].features[feature].type
    return plan.on_demand_feature_views[view].features[feature].type


def _example(kind: str, number: int = 0) -> Any:
    if kind.endswith(("_LIST", "_SET")):
        return [_example(kind.rpartition("_")[0], number)]
    scalars: Json = {"STRING": f"id-{number + 1}", "BOOL": True, "DOUBLE": 1.5, "FLOAT": 1.5, "BYTES": "AAE="}
    return scalars.get(kind, number + 1)


def _key(kind: str) -> Json:
    """A join key in a path."""
    if kind in ("STRING", "BYTES"):
        return _TEXT if kind == "STRING" else _BASE64
    least, greatest = entity_key.bounds(kind)
    return {"type": "integer", "minimum": least, "maximum": greatest}


def _key_in_body(kind: str, as_feast: bool) -> Json:
    """A join key in a body: a whole number (without a fraction) also as its decimal text, within the same bounds."""
    if kind == "STRING":
        return {"anyOf": [_TEXT, _WHOLE]} if as_feast else _TEXT
    return _BASE64 if kind == "BYTES" else {"anyOf": [_key(kind), _DECIMAL]}


def _answers(example: Any, *problems: str, schema: Json | None = None) -> Json:
    answers: Json = {
        "200": {
            "description": "Done",
            "content": {"application/json": {"schema": schema or {"type": "object"}, "example": example}},
        }
    }
    for code in problems:
        answers[code] = {
            "description": _PROBLEMS[code],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return answers


def _operation(name: str, summary: str, text: str, answers: Json, **more: Any) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "description": text,
        "security": [{}, {"key": []}],
        "responses": answers,
        **more,
    }


def _parameter(name: str, text: str, schema: Json, example: Any, **more: Any) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": schema, "example": example, **more}


def _one(names: _Names) -> Json:
    kinds = sorted({names.kind, *(names.all_keys[key] for key in names.by_one_key.values())})
    key = {
        "name": names.key,
        "in": "path",
        "required": True,
        "description": "The entity's join key, percent-encoded (also its slashes), "
        f"at most {entity_key.MAX_KEY_BYTES} bytes.",
        "schema": _key(kinds[0]) if len(kinds) == 1 else {"anyOf": list(map(_key, kinds))},
        "example": names.id,
    }
    parameters = [
        key,
        _parameter(
            "feature_service",
            f"Default: {names.default}. Those over several join keys, or none, are read by POST /features.",
            {"type": "string", "enum": list(names.by_one_key) or names.services},
            names.one,
            required=names.one != names.service,
        ),
        _parameter(
            "features",
            "Only these: names out of the feature service, or any feature as view:feature, each once, with commas "
            "between.",
            _features(),
            names.references,
            style="form",
            explode=False,
        ),
        _parameter("metadata", "Adds status, event_timestamp and age.", {"type": "boolean", "default": False}, True),
        _parameter(
            "max_age",
            "Refuses (412) if any feature is older: a whole number and s, m, h, d or w.",
            {"type": "string", "pattern": "^[0-9]{1,9}[smhdw]$"},
            "45d",
        ),
    ]
    text = "The features of one entity, by default those of the default feature service, with `metadata=true` also "
    text += "what each value is worth."
    metadata = dict.fromkeys(names.features, _METADATA["example"])
    answers = _answers(names.row() | {"metadata": metadata}, "401", "404", "412", "422", "500", "502", "503")
    return _operation("getFeatures", "Features of one entity", text, answers, parameters=parameters)


def _body(example: Json, **schema: Any) -> Json:
    whole = {"type": "object", "required": ["entities"], **schema}
    return {"required": True, "content": {"application/json": {"schema": whole, "example": example}}}


def _entities(names: _Names, as_feast: bool, text: str) -> Json:
    def values(kind: str) -> Json:
        return {"type": "array", "items": _key_in_body(kind, as_feast), "maxItems": inputs.MAX_ROWS}

    return {
        "type": "object",
        "description": f"One list for each join key of what is asked, equally long, at most {inputs.MAX_ROWS} "
        f"entries. {text}",
        "properties": {name: values(kind) for name, kind in names.all_keys.items()},
        "additionalProperties": {"type": "array", "maxItems": inputs.MAX_ROWS} if as_feast else False,
    }


def _features() -> Json:
    reference = {"$ref": "#/components/schemas/Feature"}
    return {"type": "array", "items": reference, "minItems": 1, "maxItems": inputs.MAX_FEATURES, "uniqueItems": True}


def _many(names: _Names) -> Json:
    properties = {
        "entities": _entities(names, False, "No other lists."),
        "feature_service": {"type": ["string", "null"], "enum": [*names.services, None], "default": names.service},
        "features": {
            "anyOf": [_features(), {"type": "null"}],
            "description": "Only these: names out of the feature service, or any feature as view:feature, each once.",
        },
        "metadata": {"type": "boolean", "default": False},
    }
    some = {"title": "some features", "required": ["features"], "properties": {"features": {"type": "array"}}}
    whole = [_whole_service(names, name) for name in names.services]
    example = {"entities": names.entities, "feature_service": names.service}
    body = _body(example, properties=properties, additionalProperties=False, anyOf=[*whole, some])
    answers = _answers({"results": [{"found": True, **names.row()}]}, "401", "408", "413", "422", "500", "503")
    text = (
        "One result for each row of the join keys, in the order asked. An unknown entity has `found: false` and nulls. "
        "One for which the function of an on-demand feature view fails has `problem` in place of its features. "
    )
    text += "Feature services over several join keys are read by this call."
    return _operation("getFeaturesOfMany", "Features of many entities", text, answers, requestBody=body)


def _whole_service(names: _Names, name: str) -> Json:
    """What a body of POST /features is that asks for all features of a service."""
    is_default, keys = name == names.service, names.key_names[name]
    entities = {"required": keys, "maxProperties": len(keys)}
    service = {"enum": [name, None] if is_default else [name]}
    return {
        "title": f"all of {name}",
        "required": [] if is_default else ["feature_service"],
        "properties": {"entities": entities, "feature_service": service, "features": {"type": "null"}},
    }


def _feast(names: _Names) -> Json:
    properties = {
        "entities": _entities(names, True, "Lists that are no join key are ignored."),
        "feature_service": {"type": ["string", "null"], "enum": [*names.services, "", None]},
        "features": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": inputs.MAX_FEATURES,
            "default": [],
            "description": "view:feature references; ignored where a feature service is named.",
        },
        "full_feature_names": {"type": "boolean", "default": False},
        "include_feature_view_version_metadata": {"type": "boolean", "default": False},
    }
    some = {
        "title": "some features",
        "required": ["features"],
        "properties": {
            "feature_service": {"enum": ["", None]},
            "features": _features() | {"items": {"$ref": "#/components/schemas/FeatureReference"}},
        },
    }
    whole = [
        {
            "title": f"all of {name}",
            "required": ["feature_service"],
            "properties": {"feature_service": {"enum": [name]}, "entities": {"required": names.key_names[name]}},
        }
        for name in names.services
    ]
    body = _body(
        {"entities": names.entities, "features": names.references}, properties=properties, anyOf=[*whole, some]
    )
    cell = {"values": [names.id], "statuses": ["PRESENT"], "event_timestamps": ["1970-01-01T00:00:00Z"]}
    example = {"metadata": {"feature_names": [names.key]}, "results": [cell]}
    text = "The protocol of Feast's feature server: a Feast client with a remote online store works unchanged. "
    text += "Other than there, unknown, null and stale values have their own status and time. Without "
    text += "`full_feature_names` no two features may have the same name. More fields than these are ignored. What is "
    text += "computed on demand is computed for unknown entities too."
    answers = _answers(example, "401", "408", "413", "422", "500", "502", "503")
    return _operation("getOnlineFeatures", "Feast's own protocol", text, answers, requestBody=body)


def _services() -> Json:
    answers = _answers({"default": "my_service", "feature_services": []}, "401", "422", "503")
    return _operation("listFeatureServices", "What can be asked for", "All feature services, by name.", answers)


def _service(names: _Names) -> Json:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "The feature service.",
        "schema": {"type": "string", "enum": names.services},
        "example": names.service,
    }
    text = "Its join keys, and for each feature the type, description, owner, source and ttl in seconds."
    answers = _answers({"name": names.service}, "401", "404", "422", "503")
    return _operation("getFeatureService", "One feature service", text, answers, parameters=[name])


def _status() -> Json:
    text = "The watermark (the instant that is shown), its age and the last materialization of every feature view, and "
    text += (
        "the last runs with their exit codes (0 done, 1 failed, 2 wrong usage, 3 bad data, 75 another was at work). "
    )
    text += "Answers also when the online store is away, with what was known last. `recent_traffic` tells of the calls "
    text += "that read features, in the last minute of this gateway's process alone; p50 and p99 are interpolated in "
    text += "the buckets of its histogram."
    return _operation("getStatus", "Freshness", text, _answers(_STATUS_EXAMPLE, "401", "422"))


def _probe(summary: str, word: str) -> Json:
    return {"summary": summary, "operationId": f"probe_{word}", "responses": _answers({"status": word})}


def _ready() -> Json:
    return _probe("Ready: a plan is loaded and the online store was reached once", "ready") | {
        "responses": _answers({"status": "ready"}, "503")
    }


_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail")} | {"status": {"type": "integer"}},
    "required": ["type", "title", "status", "detail"],
}
_STATUS_EXAMPLE: Json = {
    "online_store": "reachable",
    "recent_traffic": {
        "seconds": 57.5,
        "requests": 2415,
        "requests_per_second": 42.0,
        "failed_share": 0.0,
        "p50_ms": 0.4,
        "p99_ms": 1.9,
    },
}
_METADATA: Json = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": _STATUSES},
        "event_timestamp": {"type": ["string", "null"], "format": "date-time", "description": "as_of of the value"},
        "age": {"type": ["number", "null"], "description": "Seconds between event_timestamp and the reference."},
        "inputs_status": {"type": "string", "enum": _STATUSES, "description": "The worst one; if computed on demand."},
    },
    "example": {"status": "PRESENT", "event_timestamp": "2024-01-31T00:00:00Z", "age": 86400.0},
}

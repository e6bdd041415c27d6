"""The OpenAPI document and the gateway agree: what the one takes the other takes, and what it refuses is refused."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests import gateway_support as support
from tests import schema_values
from tests.gateway_support import InProcess, refused
from tests.schema_values import Json, Values

KINDS = {"blob": "BYTES", "small": "INT32", "large": "INT64", "instant": "UNIX_TIMESTAMP"}
# What a schema does not say of several parts of a body together; the document says it in words.
LENGTHS = re.compile(r"The lists in entities must be equally long\.")
# What depends on which features are named, and not on a feature service alone.
TOGETHER = re.compile(
    rf"{LENGTHS.pattern}|entities lacks the join key|entities holds '|Feature .* is not in feature service"
    r"|features names .* more than once",
    re.DOTALL,
)


def plan() -> Json:
    """The usual plan and a feature service for each type of join key."""
    whole = support.plan()
    for name, kind in KINDS.items():
        whole["feature_views"][name] = support.view(name, {f"{name}_count": "INT64"}, {name: kind})
        whole["feature_services"][name] = support.service(f"{name}:{name}_count")
    return whole


@pytest.fixture
def http(redis_client: redis.Redis) -> Iterator[InProcess]:
    support.seed(redis_client)
    support.publish(redis_client, plan())
    support.fill(redis_client, *plan()["feature_views"])
    support.write(redis_client, "pair", support.user("u1") | {"film": Value(int64_val=1)}, {})
    with support.in_process() as client:
        yield client


class Asked:
    """What the document says of the body of a call."""

    def __init__(self, document: Json, path: str) -> None:
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        self.path, self.root = path, content["schema"] | {"components": document["components"]}
        self.takes = Draft202012Validator(self.root).is_valid
        self.values: Values = schema_values.of(content["schema"], self.root).map(equally_long)


def equally_long(body: Any) -> Any:
    """The body with lists of entities as long as the shortest, which no schema can say."""
    entities = body["entities"]
    shortest = min(map(len, entities.values()), default=0)
    return body | {"entities": {name: values[:shortest] for name, values in entities.items()}}


def check(http: InProcess, asked: Asked, body: Any) -> None:
    answer = http.post(asked.path, json=body)
    if not asked.takes(body):
        assert answer.status_code in (413, 422), (body, answer.text)
        refused(answer, answer.status_code)
    elif answer.status_code == 422:
        allowed = TOGETHER if body.get("features") else LENGTHS
        assert allowed.match(answer.json()["detail"]), (body, answer.text)
    else:
        assert answer.status_code in (200, 503), (body, answer.text)


PATHS = pytest.mark.parametrize("path", ["/features", "/get-online-features"])
PROPERTY = functools.partial(
    settings, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PATHS
def test_a_body_that_the_document_takes_is_not_refused(http: InProcess, path: str) -> None:
    asked = Asked(http.get("/openapi.json").json(), path)

    @PROPERTY(max_examples=100)
    @given(asked.values)
    def each(body: Any) -> None:
        assert asked.takes(body), body
        check(http, asked, body)

    each()


@PATHS
def test_a_body_with_one_part_changed_is_refused_if_the_document_does_not_take_it(http: InProcess, path: str) -> None:
    asked = Asked(http.get("/openapi.json").json(), path)

    @PROPERTY(max_examples=150)
    @given(asked.values.flatmap(schema_values.near))
    def each(body: Any) -> None:
        check(http, asked, body)

    each()


@PATHS
def test_the_examples_of_the_document_are_answered(http: InProcess, path: str) -> None:
    content = http.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert http.post(path, json=content["example"]).status_code == 200


@PATHS
@pytest.mark.parametrize(
    "more",
    [
        {"feature_service": None, "features": ["profile:monthly_fee"]},
        {"feature_service": "main", "features": ["profile:monthly_fee"]},
        {"feature_service": "main"},
        {"feature_service": "", "features": ["profile:monthly_fee"]},
        {"features": ["devices"]},
        {"features": []},
        {"features": None},
        {"feature_service": "main", "features": None},
        {"features": ["profile:monthly_fee"] * 1001},
        {},
    ],
    ids=str,
)
def test_who_names_a_service_features_both_or_neither_is_treated_as_documented(
    http: InProcess, path: str, more: Json
) -> None:
    asked, body = Asked(http.get("/openapi.json").json(), path), {"entities": {"user_id": ["u1"]}, **more}
    assert (http.post(path, json=body).status_code == 200) == asked.takes(body)


QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "feature_service": st.sampled_from(["main", "computed", "pairs", "global", *KINDS, "none", ""]),
        "features": st.lists(
            st.sampled_from(["devices", "score", "usage:devices", "pair:score", "x", "x:y", ""]), max_size=3
        ).map(",".join),
        "metadata": st.sampled_from(["true", "false", "True", "1", ""]),
        "max_age": st.sampled_from(["45d", "0s", "2w", "45", "d", "-1d", "1234567890s", "45 d", ""]),
    },
)


def test_a_parameter_that_the_document_does_not_take_is_refused_and_any_other_is_not(http: InProcess) -> None:
    document = http.get("/openapi.json").json()
    described = document["paths"]["/features/{user_id}"]["get"]["parameters"]
    takes = {
        parameter["name"]: Draft202012Validator({**parameter["schema"], "components": document["components"]}).is_valid
        for parameter in described
    }

    @PROPERTY(max_examples=100)
    @given(QUERIES)
    def each(query: dict[str, str]) -> None:
        answer = http.get("/features/u1", params=query)
        sent: Json = dict(query)
        if "features" in sent:
            sent["features"] = sent["features"].split(",")
        sent["metadata"] = {"true": True, "false": False}.get(query.get("metadata", "true"))
        if not all(takes[name](value) for name, value in sent.items()):
            refused(answer, 422)
        elif answer.status_code == 422:
            assert "features" in query or query["feature_service"] in KINDS, (query, answer.text)
        else:
            assert answer.status_code in (200, 404, 412, 503), (query, answer.text)

    each()


@pytest.mark.parametrize("service", KINDS)
def test_a_key_in_the_path_is_of_the_documented_kind(redis_client: redis.Redis, service: str) -> None:
    support.publish(redis_client, plan() | {"default_feature_service": service})
    support.fill(redis_client, *plan()["feature_views"])
    with support.in_process() as http:
        [key, *_] = http.get("/openapi.json").json()["paths"][f"/features/{{{service}}}"]["get"]["parameters"]
        assert http.get(f"/features/{key['example']}").status_code == 404
        refused(http.get("/features/!"), 422)


def test_a_default_service_over_several_keys_leaves_the_path_to_another_one(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    support.publish(redis_client, support.plan(default_feature_service="pairs"))
    with support.in_process() as http:
        [key, service, *_] = http.get("/openapi.json").json()["paths"]["/features/{user_id}"]["get"]["parameters"]
        assert (key["name"], service["required"], service["schema"]["enum"]) == ("user_id", True, ["computed", "main"])
        refused(http.get("/features/u1"), 422)
        assert http.get("/features/u1?feature_service=main").status_code == 200

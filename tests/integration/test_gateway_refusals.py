"""Whatever is sent, an answer that is no success is a whole problem: no word of Python's, little of the caller's."""

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import routes
from api.gateway import Gateway
from tests import gateway_support as support
from tests.gateway_support import GatewayProcess, InProcess, refused

LONG = "n" * 5_000
CUT = "n" * 100
WORDS = ("Traceback", "Error:", "Exception", "pydantic", "starlette", "object at 0x", "NoneType", '.py"')


@pytest.fixture
def http_client(redis_client: redis.Redis) -> Iterator[InProcess]:
    support.seed(redis_client)
    with support.in_process() as client:
        yield client


# --- what a caller sent is told back in part


@pytest.mark.parametrize(
    "path",
    [
        f"/features/{LONG[:1000]}",
        f"/features/u1?feature_service={LONG}",
        f"/features/u1?features={LONG}",
        f"/features/u1?features=profile:{LONG}",
        f"/features/u1?features={LONG}:x",
        f"/features/u1?{LONG}=1",
        f"/status?{LONG}=1",
        f"/feature-services/{LONG}",
    ],
)
def test_an_unknown_name_in_a_read_is_cut(http_client: InProcess, path: str) -> None:
    assert_cut(http_client.get(path).text)


@pytest.mark.parametrize("path", ["/features", "/get-online-features"])
@pytest.mark.parametrize(
    "body",
    [
        {"entities": {"user_id": ["u1"]}, "feature_service": LONG},
        {"entities": {"user_id": ["u1"]}, "features": [f"profile:{LONG}"]},
        {"entities": {LONG: "no list"}, "feature_service": "main"},
    ],
    ids=["service", "feature", "entities"],
)
def test_an_unknown_name_in_a_body_is_cut(http_client: InProcess, path: str, body: object) -> None:
    assert_cut(http_client.post(path, json=body).text)


@pytest.mark.parametrize(
    "body",
    [
        {"entities": {"user_id": ["u1"]}, LONG: 1},
        {"entities": {"user_id": ["u1"], LONG: ["x"]}},
        {"entities": {"user_id": ["u1"]}, "features": [LONG]},
    ],
    ids=["field", "join key", "feature"],
)
def test_an_unknown_name_in_a_body_of_ours_is_cut(http_client: InProcess, body: object) -> None:
    assert_cut(http_client.post("/features", json=body).text)


def test_an_unknown_method_is_cut(http_client: InProcess) -> None:
    assert_cut(http_client.request(LONG.upper(), "/features/u1").text.lower())


def assert_cut(text: str) -> None:
    problem = json.loads(text)
    assert CUT[:80] in problem["detail"]
    assert f"{CUT}n" not in text


# --- no cache on the way keeps what is known of a customer


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/features/u1", 200),
        ("/features/u1?features=devices", 200),
        ("/features/u1?metadata=true", 200),
        ("/features/nobody", 404),
        ("/features/u1?max_age=0s", 412),
        ("/features/u1?features=none", 422),
        ("/features/u1?feature_service=computed", 503),
    ],
)
def test_an_answer_about_one_entity_is_not_to_be_stored(gateway: GatewayProcess, path: str, status: int) -> None:
    for answer in (gateway.http.get(path), gateway.http.head(path)):
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")


@pytest.mark.parametrize("path", ["/features", "/get-online-features"])
@pytest.mark.parametrize(("service", "status"), [("main", 200), ("none", 422), ("computed", 503)])
def test_an_answer_about_many_entities_is_not_to_be_stored(
    gateway: GatewayProcess, path: str, service: str, status: int
) -> None:
    body = {"entities": {"user_id": ["u1", "nobody"]}, "feature_service": service}
    answer = gateway.http.post(path, json=body)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")
    assert gateway.http.get(path).headers["cache-control"] == "no-store"


# --- every refusal is a problem


def test_a_failure_that_nobody_has_foreseen_is_a_problem_too(
    http_client: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Gateway) -> None:
        raise ArithmeticError("a fault of our own")

    monkeypatch.setattr(routes, "_status", broken)
    refused(http_client.get("/status"), 500, "its log tells why")


def test_more_parameters_than_may_be_sent_are_refused_as_such(http_client: InProcess) -> None:
    refused(http_client.get("/features/u1?" + "&".join(["metadata=true"] * 101)), 422, "at most 100 parameters")


METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"])
NAMES = st.sampled_from(
    [
        "", "/", "*", "/features", "/features/", "/features/u1", "/feature-services", "/feature-services/main", "/docs",
        "/get-online-features", "/status", "/openapi.json", "/livez", "/readyz", "/health", "/docs/swagger-ui.css",
        "http://other/features/u1", "//features/u1", "/features/u1/../../etc", "/feature%73/u1", "/features%2Fu1",
    ]
)  # fmt: skip
PIECES = st.one_of(
    st.binary(max_size=12).map(lambda data: quote(data).encode()),
    st.binary(max_size=6).map(lambda data: bytes(byte for byte in data if byte > 32 and byte not in b"\x7f")),
    st.sampled_from([b"%", b"%zz", b"%FF", b"%00", b"%C3", b"?", b"??", b"&&", b"=", b"#", b"/../", b"%2e%2e", b";"]),
    st.sampled_from([b"?features=", b"?feature_service=", b"?max_age=", b"&metadata=", b"?" + b"a=1&" * 300]),
)
TARGETS = st.builds(lambda name, more: name.encode() + b"".join(more), NAMES, st.lists(PIECES, max_size=4))
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Range: bytes=9-1", b"Range: x", b"If-None-Match: *", b"Expect: 100-continue", b"Host: \xff", b"X: \xfe",
            b"Authorization: Bearer \xff", b"Content-Type: text/plain", b"Accept: text/html", b"traceparent: x",
            b"Upgrade: websocket\r\nConnection: Upgrade", b"Cookie: " + b"x" * 5_000, b"Accept-Encoding: gzip;q=0",
        ]
    ),
    max_size=3,
)  # fmt: skip
BODIES = st.one_of(
    st.just(b""), st.binary(max_size=20), st.sampled_from([b"{}", b"[1]", b'{"entities":{"\\ud800":[]}}'])
)


def test_every_answer_to_any_request_is_a_success_or_a_problem(gateway: GatewayProcess) -> None:
    @settings(
        max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(METHODS, TARGETS, HEADERS, BODIES)
    def each(method: str, target: bytes, headers: list[bytes], body: bytes) -> None:
        sent = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" % (
            method.encode(),
            target or b"/",
            len(body),
        )
        status, media_type, stored, text = answered(
            gateway, method, sent + b"".join(b"%b\r\n" % h for h in headers), body
        )
        if status < 300 or status == 304:
            return
        assert media_type == "application/problem+json", (status, text)
        assert status == 400 or stored == "no-store"
        if method == "HEAD":
            assert text == b""
            return
        problem = json.loads(text)
        assert problem.keys() == {"type", "title", "status", "detail"}
        assert problem["status"] == status
        assert problem["type"].startswith("urn:feature-platform:problem:")
        assert problem["title"]
        assert problem["detail"].endswith(".")
        assert not [word for word in WORDS if word in text.decode()]

    each()
    assert [event for event in gateway.events() if event["event"] == "unexpected_error"] == []
    assert gateway.http.get("/features/u1").status_code == 200


def answered(
    gateway: GatewayProcess, method: str, head: bytes, body: bytes
) -> tuple[int, str | None, str | None, bytes]:
    """Status, media type, whether it may be stored, and the body."""
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(head + b"\r\n" + body)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, answer.getheader("content-type"), answer.getheader("cache-control"), answer.read()

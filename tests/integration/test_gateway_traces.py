"""OpenTelemetry traces: each request one span where a collector is named, and nothing of it where none is."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from jobs.local.servers import RedisServer
from jobs.process import free_port
from tests import gateway_support as support
from tests import otlp_receiver
from tests.gateway_support import GatewayProcess
from tests.otlp_receiver import Receiver, attributes

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = ({"traceparent": f"00-{TRACE}-{CALLER}-{flags}"} for flags in ("01", "00"))
ONE = "/features/{id}"
# Method, path, body; name of the span, route, status.
CALLS: tuple[tuple[str, str, Any, str, str | None, int], ...] = (
    ("GET", "/features/u1", None, f"GET {ONE}", ONE, 200),
    ("GET", "/features/u1?metadata=true", None, f"GET {ONE}", ONE, 200),
    ("GET", "/features/secret-id", None, f"GET {ONE}", ONE, 404),
    ("POST", "/features", {"entities": {"user_id": ["u1", "secret-id"]}}, "POST /features", "/features", 200),
    ("POST", "/features", {"entities": "secret-id"}, "POST /features", "/features", 422),
    ("GET", "/status", None, "GET /status", "/status", 200),
    ("GET", "/secret-id", None, "GET", None, 404),
    ("PURGE", "/features/secret-id", None, f"HTTP {ONE}", ONE, 405),
)  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver.receiver() as started:
        yield started


@contextmanager
def traced(receiver: Receiver, log: Path, **environment: str) -> Iterator[GatewayProcess]:
    """A ready gateway that sends its spans to the receiver soon."""
    otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with support.gateway_process(log, **otel | environment) as gateway:
        gateway.wait_ready()
        yield gateway


def span_of(receiver: Receiver, answer: httpx.Response) -> Span:
    """The one span whose ids are those in the header of the answer."""
    _, trace_id, span_id, _ = answer.headers["traceparent"].split("-")

    def found() -> list[Span]:
        return [span for span in receiver.spans if (span.trace_id.hex(), span.span_id.hex()) == (trace_id, span_id)]

    [span] = support.wait_for(found)
    return span


# --- refusals


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be the http:// or"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be the http:// or"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf",
        ),
    ],
)
def test_a_wrong_address_or_protocol_ends_the_start_with_one_sentence_and_2(
    redis_client: redis.Redis, setting: dict[str, str], sentence: str
) -> None:
    ended = start(**setting)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence)
    assert ended.stderr.count("\n") == 1


def test_an_address_without_the_packages_ends_the_start_with_one_sentence_and_2(redis_client: redis.Redis) -> None:
    ended = start("sys.modules['opentelemetry.sdk'] = None", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, and the package of opentelemetry.sdk")
    assert "extra `tracing`" in ended.stderr
    assert ended.stderr.count("\n") == 1


def start(before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {before}\nfrom api.__main__ import main; sys.exit(main())"],
        cwd=support.REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


# --- what is sent


def test_each_request_is_one_span_with_the_ids_of_its_header_and_no_customers_id(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log") as gateway:
        for method, path, body, name, route, code in CALLS:
            for headers in ({}, SAMPLED):
                before = time.time_ns()
                answer = gateway.http.request(method, path, json=body, headers=headers)
                after = time.time_ns()
                assert answer.status_code == code
                span = span_of(receiver, answer)
                assert before <= span.start_time_unix_nano < span.end_time_unix_nano
                # The end is a moment after the answer, which a caller may have read by then.
                assert span.start_time_unix_nano <= after
                assert (span.name, span.kind) == (name, Span.SPAN_KIND_SERVER)
                assert span.parent_span_id.hex() == (CALLER if headers else "")
                known = method if method != "PURGE" else "_OTHER"
                right = {"http.request.method": known, "http.response.status_code": code}
                assert attributes(span.attributes) == right | ({"http.route": route} if route else {})
                assert span.status.code == Status.STATUS_CODE_UNSET
                assert int(answer.headers["traceparent"][-2:], 16) & 1
        spans = [span for span in receiver.spans if span.name != "GET /readyz"]
        assert len(spans) == len({span.span_id for span in spans}) == 2 * len(CALLS)
        assert {span.trace_id.hex() for span in spans if span.parent_span_id} == {TRACE}
        assert not [request for request in receiver.requests if b"secret-id" in request.SerializeToString()]
        assert receiver.resource["service.name"] == "feature-gateway"


def test_a_failed_request_is_a_span_with_an_error(own_redis: RedisServer, receiver: Receiver, tmp_path: Path) -> None:
    support.seed(redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with traced(receiver, tmp_path / "log", **environment) as gateway:
        assert gateway.http.get("/features/u1").status_code == 200
        own_redis.stop()
        for path in ("/features/u1", "/features/u1?metadata=true"):
            failed = gateway.http.get(path, headers=SAMPLED)
            assert failed.status_code == 503
            span = span_of(receiver, failed)
            assert span.status.code == Status.STATUS_CODE_ERROR
            told = attributes(span.attributes)
            assert (told["http.response.status_code"], told["error.type"]) == (503, "503")
            assert span.parent_span_id.hex() == CALLER


def test_a_request_that_goes_both_ways_is_one_span_from_its_arrival_to_its_end(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    """An unknown customer: the short way asks the store, the ordinary one answers."""
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log") as gateway:
        assert gateway.http.get("/features/u1").status_code == 200
        redis_client.execute_command("CLIENT", "PAUSE", 100, "ALL")
        answer = gateway.http.get("/features/nobody")
        assert answer.status_code == 404
        span = span_of(receiver, answer)
        assert span.end_time_unix_nano - span.start_time_unix_nano > 50e6
        assert len([other for other in receiver.spans if other.name == f"GET {ONE}"]) == 2


def test_a_caller_who_goes_before_the_answer_leaves_a_span_without_a_status(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log") as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")

        def left() -> list[Span]:
            redis_client.execute_command("CLIENT", "PAUSE", 100, "ALL")
            with socket.create_connection((host, int(port)), timeout=5) as caller:
                caller.sendall(b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n\r\n")
            gateway.http.get("/livez")
            return [span for span in receiver.spans if attributes(span.attributes).keys() == {
                "http.request.method", "http.route"}]  # fmt: skip

        assert support.wait_for(left)[0].name == f"GET {ONE}"


# --- what is sampled


def test_what_the_caller_does_not_sample_is_no_span_and_its_header_says_so(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log") as gateway:
        for path in ("/features/u1", "/features/u1?metadata=true", "/status"):
            answer = gateway.http.get(path, headers=NOT_SAMPLED)
            assert re.fullmatch(f"00-{TRACE}-(?!{CALLER})[0-9a-f]{{16}}-00", answer.headers["traceparent"])
        span_of(receiver, gateway.http.get("/features/u1"))  # and so what came before is there too
        assert TRACE not in {span.trace_id.hex() for span in receiver.spans}


def test_a_share_is_sampled_as_the_environment_says_and_headers_say_which(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    half = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    with traced(receiver, tmp_path / "log", **half) as gateway:
        headers = [gateway.http.get("/features/u1").headers["traceparent"].split("-") for _ in range(200)]
        sampled = {span_id for _, _, span_id, flags in headers if int(flags, 16) & 1}
        assert 20 < len(sampled) < 180  # beyond 10 standard deviations there would be no chance in it
        span_of(receiver, gateway.http.get("/features/u1", headers=SAMPLED))
        support.wait_for(lambda: len(receiver.named(f"GET {ONE}")) == len(sampled) + 1)
        assert sampled < {span.span_id.hex() for span in receiver.spans}


def test_names_of_the_service_come_from_the_environment(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log", OTEL_SERVICE_NAME="churn-gateway") as gateway:
        span_of(receiver, gateway.http.get("/status"))
        assert receiver.resource["service.name"] == "churn-gateway"


# --- the call to the feature server


class FeatureServer(ThreadingHTTPServer):
    """Computes one feature as Feast's server answers, and remembers by which traces it was asked."""

    daemon_threads = True
    code = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.traceparents: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answers(BaseHTTPRequestHandler):
    server: FeatureServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.traceparents += self.headers.get_all("traceparent", [])
        result = {"values": [12.25], "statuses": ["PRESENT"]}
        answer = {"metadata": {"feature_names": ["hours_per_device"]}, "results": [result]}
        self.send_response(self.server.code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def feature_server() -> Iterator[FeatureServer]:
    with FeatureServer() as server:
        yield server
        server.shutdown()


@pytest.mark.parametrize(("code", "answered"), [(200, 200), (500, 503)])
def test_the_call_to_the_feature_server_is_a_span_below_the_requests_and_passes_the_trace_on(
    redis_client: redis.Redis, receiver: Receiver, feature_server: FeatureServer, tmp_path: Path, code: int,
    answered: int,
) -> None:  # fmt: skip
    support.seed(redis_client)
    feature_server.code = code
    url = f"http://127.0.0.1:{feature_server.server_port}"
    with traced(receiver, tmp_path / "log", FEATURE_PLATFORM_FEATURE_SERVER_URL=url) as gateway:
        answer = gateway.http.get("/features/u1?feature_service=computed", headers=SAMPLED)
        assert answer.status_code == answered
        server = span_of(receiver, answer)
        [call] = [span for span in receiver.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert feature_server.traceparents == [f"00-{TRACE}-{call.span_id.hex()}-01"]
    assert (call.name, call.trace_id, call.parent_span_id) == (
        "POST /get-online-features", server.trace_id, server.span_id,
    )  # fmt: skip
    assert server.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano
    assert attributes(call.attributes) == {
        "http.request.method": "POST", "http.response.status_code": code, "server.address": "127.0.0.1",
        "server.port": feature_server.server_port, "url.full": f"{url}/get-online-features",
        **({"error.type": "500"} if code == 500 else {}),
    }  # fmt: skip
    assert (call.status.code == Status.STATUS_CODE_ERROR) is (code == 500)


def test_a_feature_server_that_is_gone_is_a_failed_call(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    gone = f"http://user:secret@127.0.0.1:{free_port()}"
    with traced(receiver, tmp_path / "log", FEATURE_PLATFORM_FEATURE_SERVER_URL=gone) as gateway:
        span_of(receiver, gateway.http.get("/features/u1?feature_service=computed"))
        [call] = [span for span in receiver.spans if span.kind == Span.SPAN_KIND_CLIENT]
        assert attributes(call.attributes)["error.type"] == "ConnectError"
        assert call.status.code == Status.STATUS_CODE_ERROR
        assert b"secret" not in call.SerializeToString()


def test_without_a_collector_the_feature_server_still_hears_of_the_callers_trace(
    redis_client: redis.Redis, feature_server: FeatureServer, tmp_path: Path
) -> None:
    support.seed(redis_client)
    url = f"http://127.0.0.1:{feature_server.server_port}"
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_FEATURE_SERVER_URL=url) as gateway:
        gateway.wait_ready()
        answer = gateway.http.get("/features/u1?feature_service=computed", headers=SAMPLED)
        assert feature_server.traceparents == [answer.headers["traceparent"]]


# --- what it may cost


def test_what_waits_is_sent_at_the_end_of_the_process(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with traced(receiver, tmp_path / "log", OTEL_BSP_SCHEDULE_DELAY="600000") as gateway:
        names = {gateway.http.get("/features/u1").headers["traceparent"].split("-")[2] for _ in range(20)}
        assert not receiver.spans
        assert gateway.stop() == 0
        assert names <= {span.span_id.hex() for span in receiver.spans}


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_a_collector_that_is_gone_fails_no_request_and_holds_no_end_up(
    redis_client: redis.Redis, tmp_path: Path, kind: str
) -> None:
    support.seed(redis_client)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = free_port() if kind == "refuses" else silent.getsockname()[1]
        environment = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces", "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16",
        }  # fmt: skip
        with support.gateway_process(tmp_path / "log", **environment) as gateway:
            gateway.wait_ready()
            answers = [gateway.http.get("/features/u1") for _ in range(500)]
            assert {answer.status_code for answer in answers} == {200}
            assert {int(answer.headers["traceparent"][-2:], 16) & 1 for answer in answers} == {1}
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(12) == 0
            assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize("setting", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_SDK_DISABLED": "true"}])
def test_where_it_is_off_nothing_of_the_sdk_is_loaded(
    redis_client: redis.Redis, receiver: Receiver, tmp_path: Path, setting: dict[str, str]
) -> None:
    support.seed(redis_client)
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **setting} if setting else {}
    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    program = ("-c", f"{tell}; from api.__main__ import main; main()")
    with support.gateway_process(tmp_path / "log", program, **off) as gateway:
        gateway.wait_ready()
        for method, path, body, _, _, code in CALLS:
            assert gateway.http.request(method, path, json=body, headers=SAMPLED).status_code == code
        assert gateway.stop() == 0
        loaded = gateway.log.read_text().split()
    assert "api.direct" in loaded
    assert not [
        name
        for name in loaded
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests"))
    ]
    assert "api.spans" not in loaded
    assert not receiver.spans

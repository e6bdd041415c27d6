"""The traffic that the cluster's tests send: it notices each answer that is missing or wrong, and keeps to schedule."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.traffic import Report, traffic
from tests.e2e.traffic_client import KEPT_CONNECTIONS
from tests.process_support import wait_for

RIGHT: dict[str, tuple[int, Any]] = {"/a": (200, {"value": 29.85}), "/b": (200, {"value": None}), "/none": (404, {})}
PER_SECOND = 100
REQUESTS = 60
Answer = Callable[[str], tuple[int, Any] | None]
"""What a server answers to a path; None: it hangs up."""


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """The address of a server that keeps connections."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answered = answer(self.path) if self.headers["Host"] == "the.host" else (421, "not for me")
            if answered is None:
                self.close_connection = True
                return
            body = json.dumps(answered[1]).encode()
            self.send_response(answered[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()


def report_of(answer: Answer) -> Report:
    """What the traffic says of a server that was asked REQUESTS times, and perhaps a few times more."""
    asked = 0

    def counted(path: str) -> tuple[int, Any] | None:
        nonlocal asked
        asked += 1
        return answer(path)

    with server(counted) as url, traffic(url, "the.host", RIGHT, PER_SECOND) as recording:
        wait_for(lambda: asked >= REQUESTS, "the server to be asked")
    return recording.report


def test_right_answers_are_no_faults() -> None:
    report = report_of(RIGHT.__getitem__)
    assert report.sent >= REQUESTS
    assert (report.failed, report.wrong) == ([], [])


def test_the_schedule_is_kept_but_for_what_the_report_says() -> None:
    report = report_of(RIGHT.__getitem__)
    assert (report.seconds - report.behind) * PER_SECOND - 1 <= report.sent <= report.seconds * PER_SECOND + 1


def test_half_of_the_requests_use_a_fresh_connection_each_and_half_a_few_kept_ones() -> None:
    report = report_of(RIGHT.__getitem__)
    assert report.connections["fresh"] == report.sent // 2
    assert KEPT_CONNECTIONS <= report.connections["kept"] < report.connections["fresh"]


def test_another_body_is_wrong() -> None:
    report = report_of(lambda path: (200, {"value": 29.850000001}) if path == "/a" else RIGHT[path])
    assert report.failed == []
    assert {fault.path for fault in report.wrong} == {"/a"}
    assert "29.850000001" in report.wrong[0].reason
    assert len(report.wrong) == pytest.approx(report.sent / 3, abs=1)


def test_another_status_and_no_answer_are_failures_with_time_and_reason() -> None:
    report = report_of(lambda path: None if path == "/a" else (503, {}) if path == "/b" else RIGHT[path])
    assert {fault.path for fault in report.failed} == {"/a", "/b"}
    reasons = {fault.path: fault.reason for fault in report.failed}
    assert "disconnected" in reasons["/a"]
    assert "503 instead of 200" in reasons["/b"]
    assert {fault.connection for fault in report.failed} == {"fresh", "kept"}
    assert report.failed[0].at in str(report)


def test_a_server_that_does_not_answer_is_asked_on() -> None:
    waiting, answered = 0, threading.Event()

    def slow(path: str) -> tuple[int, Any]:
        nonlocal waiting
        waiting += 1
        answered.wait(30)
        return RIGHT[path]

    with server(slow) as url, traffic(url, "the.host", RIGHT, PER_SECOND) as recording:
        wait_for(lambda: waiting > 2 * KEPT_CONNECTIONS, "more requests under way than there are connections to keep")
        answered.set()
    assert recording.report.slowest_milliseconds > 2 * KEPT_CONNECTIONS * 1000 / PER_SECOND


def test_a_server_that_is_gone_is_a_failure_of_each_request() -> None:
    with server(RIGHT.__getitem__) as url:
        pass
    with traffic(url, "the.host", RIGHT, PER_SECOND) as recording:
        pass
    assert len(recording.report.failed) == recording.report.sent > 0

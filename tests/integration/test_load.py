"""`make load`: what it says was answered is what the gateway counted, and what was not answered is told apart."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis

from jobs.process import LOOPBACK, free_port
from tests import gateway_support as support
from tests.bench import load, open_loop
from tests.bench.tally import Tally
from tests.gateway_support import GatewayProcess
from tests.integration.test_gateway_process import hashes

REQUESTS = r'requests_total\{code="(\d+)",method="GET",route="/features/\{id\}"\} (\d+)\.0'


def counted(gateway: GatewayProcess) -> dict[str, int]:
    """Reads of one customer, by status, as the gateway's own metrics have them."""
    found = re.findall(REQUESTS, httpx.get(f"{gateway.metrics_url}/metrics").text)
    return {code: int(count) for code, count in found if int(count)}


def by_code(tally: Tally) -> dict[str, int]:
    return {str(code): len(seconds) for code, seconds in tally.answered.items()}


def start(folder: Path, *flags: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load", *flags],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(support.REPOSITORY), **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# --- refusals


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rate=5001"], "a rate of 5,001 is not from 1 to 5,000 requests a second"),
        (["--rate=0"], "a rate of 0 is not from 1 to 5,000"),
        (["--seconds=601"], "601 s is not more than 0 and up to 600 s"),
        (["--url=localhost:8080"], "'localhost:8080' is not a base URL like http://localhost:8080"),
        (["--url=http://user:password@localhost"], "is not a base URL"),
        (["--url=http://localhost:99999"], "'http://localhost:99999' is not a base URL"),
        (["--host=a b"], "'a b' is no name of a host"),
        (["--users=/nowhere"], "cannot read the users from /nowhere"),
        (["--users=/dev/null"], "/dev/null holds no id"),
        (["--rat=1"], "unrecognized arguments: --rat=1"),
    ],
)
def test_a_wrong_flag_is_refused_with_a_sentence_before_anything_is_sent(
    tmp_path: Path, flags: list[str], sentence: str
) -> None:
    with start(tmp_path, *flags) as ended:
        output, errors = ended.communicate(timeout=60)
    assert (ended.returncode, output) == (2, "")
    assert sentence in errors.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(tmp_path: Path) -> None:
    with start(tmp_path, API_KEY="secret\r\nX-Other: 1") as ended:
        output, errors = ended.communicate(timeout=60)
    assert (ended.returncode, output) == (2, "")
    assert "the API key holds a character that no header can" in errors
    assert "secret" not in errors


def test_where_nobody_listens_one_sentence_says_so(tmp_path: Path) -> None:
    with start(tmp_path, f"--url=http://{LOOPBACK}:{free_port()}") as ended:
        output, errors = ended.communicate(timeout=60)
    assert (ended.returncode, output) == (1, "")
    assert re.fullmatch(rf"Nobody answers at http://{LOOPBACK}:\d+: .+\n", errors)


# --- what is counted


def test_counts_are_those_of_the_gateways_own_metrics(gateway: GatewayProcess) -> None:
    rows: list[Tally] = []
    tally = load.drive(
        gateway.url, rate=300, seconds=2, users=["u1", "nobody", "a/b c"], each_second=lambda _, row: rows.append(row)
    )
    assert tally.sent == tally.answers == 600
    assert by_code(tally) == counted(gateway)
    assert {"200", "404"} <= by_code(tally).keys() <= {"200", "404", "503"}  # 503 on a machine that has much to do
    assert sum(row.sent for row in rows) == sum(row.answers for row in rows) == 600
    assert (tally.lost, tally.timed_out, tally.unsent) == (0, 0, 0)
    assert tally.ended_at - tally.started_at > 1.9


def test_by_default_the_samples_customers_are_asked_for() -> None:
    users = load.sample_users()
    assert len(set(users)) == len(users) == 7_043
    assert "7590-VHVEG" in users


def test_an_api_key_comes_from_the_environment_and_what_it_opens_is_counted_apart(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    (tmp_path / "users").write_text("u1\n")
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES=hashes("right")) as gateway:
        gateway.wait_ready()
        flags = (f"--url={gateway.url}", "--rate=50", "--seconds=1", "--users=users", "--host=features.example")
        found = []
        for key in ("right", "wrong"):
            with start(tmp_path, *flags, API_KEY=key) as ended:
                output, errors = ended.communicate(timeout=60)
            assert (ended.returncode, errors) == (0, "")
            document = json.loads((tmp_path / load.OUTPUT).read_text())
            found.append({code: of_code["count"] for code, of_code in document["answered"].items()})
            assert re.search(rf"^ +{'200' if key == 'right' else '401'} +50 ", output, re.MULTILINE)
            assert key not in output
        assert found == [{"200": 50}, {"401": 50}]
        assert counted(gateway) == {"200": 50, "401": 50}


def test_a_server_that_is_killed_and_comes_back_is_reached_again_and_what_it_lost_is_told_apart(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    port = str(free_port())
    seen: list[Tally] = []
    stop = threading.Event()

    def answered_since(row: int) -> bool:
        return any(tally.answers for tally in seen[row:])

    with ThreadPoolExecutor(1) as pool:
        try:
            with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_GATEWAY_PORT=port) as gateway:
                gateway.wait_ready()
                running = pool.submit(
                    load.drive,
                    gateway.url,
                    100,
                    60,
                    users=["u1"],
                    stop=stop,
                    each_second=lambda _, row: seen.append(row),
                )
                support.wait_for(lambda: answered_since(0), 30)
                gateway.process.send_signal(signal.SIGSTOP)
                support.wait_for(lambda: seen and not seen[-1].answers, 30)  # so that requests are under way
                gateway.process.kill()
                gateway.process.wait()
            with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_GATEWAY_PORT=port) as gateway:
                row = len(seen)
                support.wait_for(lambda: answered_since(row), 30)
                stop.set()
                tally = running.result(60)
        finally:
            stop.set()
    assert tally.lost > 0
    assert by_code(tally).keys() <= {"200", "503"}  # 503: the new one has no plan yet
    assert tally.sent == tally.answers + tally.lost + tally.timed_out


def test_a_server_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "LONGEST_SECONDS", 0.5)
    with socket.create_server((LOOPBACK, 0), backlog=1_000) as silent:
        tally = load.drive(f"http://{LOOPBACK}:{silent.getsockname()[1]}", rate=1_000, seconds=1, users=["u1"])
    assert tally.answered == {}
    assert tally.sent == tally.timed_out > 0
    assert tally.sent + tally.unsent == 1_000


def test_what_could_not_leave_for_want_of_a_connection_is_not_called_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "LONGEST_SECONDS", 0.5)
    with socket.create_server((LOOPBACK, 0), backlog=1_000) as silent:
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        tally = load.drive(url, 100, 3, users=["u1"], each_second=lambda _second, _row: silent.close())
    assert tally.unsent > 0
    assert tally.sent == tally.timed_out + tally.lost > 0
    assert tally.sent + tally.unsent == 300


# --- how it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sending_and_the_totals_are_whole(
    gateway: GatewayProcess, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "users").write_text("u1\n")
    with start(tmp_path, f"--url={gateway.url}", "--rate=100", "--seconds=600", "--users=users") as ended:
        assert ended.stdout is not None
        head, first = ended.stdout.readline(), ended.stdout.readline()
        ended.send_signal(number)
        output, errors = ended.communicate(timeout=60)
    assert (ended.returncode, errors) == (0, "")
    assert head.split()[:3] == ["second", "sent", "answered"]
    assert int(first.split()[0]) == 1
    document = json.loads((tmp_path / load.OUTPUT).read_text())
    assert document["sent"] == document["answered"]["200"]["count"] == counted(gateway)["200"]
    assert document["sent"] < 60_000
    assert f"{document['sent']:,} requests in" in output
    assert document["started_at"] < document["ended_at"]

"""`make demo`: golden answers, and nothing left behind however it ends. Each in folders of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.process_support import command_line, descendants, is_alive, wait_for, working_below

GOLDEN = {"months_active": 1, "monthly_fee": 29.85, "paperless_billing": True, "net_service": "DSL"}
END_SECONDS = 200
README = (REPOSITORY / "README.md").read_text()


@pytest.fixture
def machine(servers_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A checkout and a folder for temporary files that no other demo on this machine uses."""
    folder = servers_folder / tmp_path.name
    (folder / "tmp").mkdir(parents=True)
    (folder / "feature_repo").symlink_to(REPOSITORY / "feature_repo")
    yield folder
    shutil.rmtree(folder)


@contextmanager
def demo(machine: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as `make demo` starts it; it does not outlive the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEATURE_PLATFORM_", "PG"))}
    here = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(machine / "tmp"), **environment}
    with subprocess.Popen(
        [sys.executable, "-m", "jobs.local.demo"],
        cwd=machine, env=kept | here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the demo prints up to the line that holds `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"the demo ended without {text!r}:\n{''.join(lines)}")


def answers(output: str) -> list[tuple[str, int, Mapping[str, Any]]]:
    """Each request of the gateway that the demo shows: path, status and body."""
    shown = re.findall(r"^ +GET (\S+)\n +(\d{3}) (\{.*\})$", output, re.MULTILINE)
    return [(path, int(status), json.loads(body)) for path, status, body in shown]


def feature_servers(pid: int) -> int:
    return sum("jobs.feature_server" in command_line(child) for child in descendants(pid))


def nothing_runs(machine: Path, children: set[int]) -> bool:
    return not any(map(is_alive, children)) and not working_below(machine)


def test_a_second_demo_is_refused_and_ctrl_c_ends_the_first_without_an_orphan(machine: Path) -> None:
    with demo(machine) as first:
        read_until(first, "applying migrations")
        with demo(machine) as second:
            assert second.stdout is not None
            assert second.stdout.read() == ("demo: another demo is running on this machine; end it with Ctrl-C first\n")
            assert second.wait(END_SECONDS) == 1
        wait_for(lambda: len(descendants(first.pid)) > 3, "the stores and the job run")
        children = descendants(first.pid)
        first.send_signal(signal.SIGINT)
        assert first.stdout is not None
        assert first.stdout.read().endswith("ended; nothing runs any more\n")
        assert first.wait(END_SECONDS) == 0
    wait_for(lambda: nothing_runs(machine, children), "every child is gone")


def test_a_demo_that_was_killed_hinders_nobody_and_the_next_one_shows_the_golden_answers(machine: Path) -> None:
    with demo(machine) as killed:
        read_until(killed, "materializing 2024-01-31")
        read_until(killed, "materialize: done")
        wait_for(lambda: feature_servers(killed.pid) == 2, "Feast's feature server has its worker")
        children = descendants(killed.pid)
        killed.kill()
        killed.wait()
        wait_for(lambda: nothing_runs(machine, children), "every child is gone")

    with demo(machine, DEMO_ONCE="1") as whole:
        output = read_until(whole, "waiting for Feast's own feature server")
        children = descendants(whole.pid)
        output += whole.communicate(timeout=END_SECONDS)[0]
    assert whole.returncode == 0, output
    wait_for(lambda: nothing_runs(machine, children), "every child is gone")
    shows_the_golden_answers(output)
    shows_what_the_readme_shows(output)
    assert not list((machine / "tmp").glob("feature-platform-demo-*/servers"))


def shows_the_golden_answers(output: str) -> None:
    asked = answers(output)
    path, status, first = asked[0]
    assert (path, status) == ("/features/7590-VHVEG", 200)
    assert {name: first["features"][name] for name in GOLDEN} == GOLDEN
    assert asked[1][:2] == ("/features/0000-NOBODY", 404)
    assert len(asked) == 2 + 5 + 1, "each later month, and an on-demand feature"
    assert asked[-1][1] == 200
    assert asked[-1][2]["features"]["fee_per_watch_hour"] > 0
    assert output.count("materialize: done") == 6
    assert re.search(r"training_set: [\d,]+ rows of churn_v1 at 6 month-ends", output)
    assert re.search(r"^ +\W*user_id\W+event_timestamp\W", output, re.MULTILINE)
    assert re.search(r"Postgres from (PATH|the PyPI wheel)", output)
    assert re.search(r"Redis from (PATH|the PyPI wheel)", output)
    assert re.search(r"^gateway +http://127\.0\.0\.1:\d+/docs$", output, re.MULTILINE)
    assert "Traceback" not in output


def shows_what_the_readme_shows(output: str) -> None:
    block = re.search(r"shortened:\n\n```text\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    printed = {steady(line) for line in output.splitlines()}
    shown = [steady(line) for line in block[1].splitlines() if line != "..."]
    assert len(shown) > 20
    for line in shown:
        start = line.removesuffix("…")
        assert any(found.startswith(start) if line.endswith("…") else found == line for found in printed), line


def steady(line: str) -> str:
    """Without what differs from run to run and from machine to machine: seconds, ports, where the servers are from."""
    line = re.sub(r"^\[ *\d+\.\d s\]|\b\d+(\.\d)? s$", "N s", line)
    return re.sub(r"(?<=127\.0\.0\.1:)\d+|(?<=from )(PATH|the PyPI wheel).*", "N", line)

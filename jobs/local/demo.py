"""`make demo`: from monthly exports to a served feature and a training set, on one machine, with one command."""

import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

import httpx

from feature_repo.sample import EXAMPLE_CUSTOMER, UNKNOWN_CUSTOMER, ExportFolder, exports, generate, write_export
from jobs.instants import isoformat
from jobs.local.platform import LocalPlatform
from jobs.local.servers import MissingServerError, find_postgres, find_redis

MONTHS = 6
OUTPUT = Path("build/demo")
PATIENCE = 30


class DemoFailedError(Exception):
    """A step of the demo did not do what it should; the message says which."""


class Steps:
    """Prints each step with the time it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show `title` at once, and when the step is over what it reported and how long it took."""
        print(f"[{self.seconds():5.1f} s] {title} ...", flush=True)
        notes: list[str] = []
        yield notes.append
        for note in notes:
            print(f"          {note}", flush=True)

    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started


def main() -> int:
    """Run the demo and return its exit code."""
    # Both by name: a shell that starts something in the background leaves SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    folder = Path(tempfile.gettempdir()) / f"feature-platform-demo-{os.getuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        if not _only_one(lock):
            print("demo: another demo is running on this machine; end it with Ctrl-C first", file=sys.stderr)
            return 1
        try:
            return _demo(folder)
        except (DemoFailedError, MissingServerError, RuntimeError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nended; nothing runs any more")
            return 0


def _demo(folder: Path) -> int:
    servers = folder / "servers"
    # What an earlier demo left behind, however it ended: its processes died with it, its data are of no use.
    for leftover in (servers, OUTPUT):
        shutil.rmtree(leftover, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    steps = Steps()
    with steps.step("starting a private Postgres and a private Redis on free loopback ports") as note:
        note(f"Postgres from {find_postgres().origin}")
        note(f"Redis from {find_redis().origin}")
        platform = LocalPlatform(servers, OUTPUT / "logs", Path("feature_repo").resolve(), "streamflow")
    try:
        _tell_the_story(platform, steps)
        if os.environ.get("DEMO_ONCE") != "1":
            print("serving until Ctrl-C", flush=True)
            signal.pause()
    finally:
        platform.stop()
        shutil.rmtree(servers, ignore_errors=True)
    return 0


def _tell_the_story(platform: LocalPlatform, steps: Steps) -> None:
    with steps.step(f"writing {MONTHS} monthly exports of the 7,043 customers of the IBM Telco data"):
        for export in generate(months=MONTHS):
            write_export(export, OUTPUT / "exports")
    folders = exports(OUTPUT / "exports")
    with steps.step("applying migrations, feature definitions and the serving plan") as note:
        note(_run(platform, "apply"))
    feature_server = platform.start_feature_server()
    for export_folder in folders:
        with steps.step(f"ingesting {export_folder.path.name}") as note:
            note(_ingest(platform, export_folder))
    with steps.step("starting the gateway"):
        # The sample's months are long ago: ages are counted from the watermark instead of from now.
        platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
    months = sorted({export_folder.as_of for export_folder in folders})
    for month in months:
        with steps.step(f"materializing {isoformat(month)}") as note:
            note(_run(platform, "materialize", "--as-of", isoformat(month)))
        _ask(platform, f"/features/{EXAMPLE_CUSTOMER}", 200)
        if month == months[0]:
            _ask(platform, f"/features/{UNKNOWN_CUSTOMER}", 404)
    with steps.step("building a training set over all months") as note:
        window = ["--start", isoformat(months[0]), "--end", isoformat(months[-1])]
        note(_run(platform, "training_set", *window, "--output", OUTPUT / "training_set"))
    _show_training_set(OUTPUT / "training_set")
    with steps.step("waiting for Feast's own feature server"):
        platform.wait_for_feature_server(feature_server)
    for service in httpx.get(f"{platform.gateway_url}/feature-services").json()["feature_services"]:
        if not service["default"]:
            _ask(platform, f"/features/{EXAMPLE_CUSTOMER}?feature_service={service['name']}", 200)
    print(f"\nthe demo took {steps.seconds():.0f} s")
    print(f"gateway         {platform.gateway_url}/docs")
    print(f"                {platform.gateway_url}/features/{EXAMPLE_CUSTOMER}?metadata=true")
    print(f"metrics         http://127.0.0.1:{platform.metrics_port}/metrics")
    print(f"feature server  {platform.feature_server_url}")
    print(f"files           {OUTPUT}/exports, {OUTPUT}/training_set, {OUTPUT}/logs", flush=True)


def _run(platform: LocalPlatform, module: str, *arguments: str | Path) -> str:
    outcome = platform.run_job(module, *arguments)
    if outcome.exit_code != 0:
        raise DemoFailedError(
            f"{outcome.summary or module} (exit {outcome.exit_code}); see {platform.logs}/{module}.log"
        )
    return outcome.summary


def _ingest(platform: LocalPlatform, folder: ExportFolder) -> str:
    when = ["--as-of", isoformat(folder.as_of), "--delivered-at", isoformat(folder.delivered_at)]
    return _run(platform, "ingest", *when, folder.path)


def _ask(platform: LocalPlatform, path: str, expected: int) -> None:
    answer = _answer(platform.gateway_url + path)
    print(f"          GET {path}\n          {answer.status_code} {answer.text}", flush=True)
    if answer.status_code != expected:
        raise DemoFailedError(f"GET {path} answered {answer.status_code}, not {expected}")


def _answer(url: str) -> httpx.Response:
    # As a caller should: 503 says when to come again. A feature server that has just started is slow at first.
    for _ in range(PATIENCE):
        answer = httpx.get(url, timeout=10.0)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    return answer


def _show_training_set(folder: Path) -> None:
    with (folder / "training_df.csv").open() as rows:
        for line in islice(rows, 4):
            print(f"          {line.rstrip()}")
    manifest = json.loads((folder / "manifest.json").read_text())
    print(f"          manifest.json says: {', '.join(manifest)}", flush=True)


def _only_one(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

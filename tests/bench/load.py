"""`python -m tests.bench.load`: single reads at a chosen rate, wherever the gateway is, and a table of what comes back.

Requests are sent on schedule, whatever became of those before. Ctrl-C ends the sending; the totals follow.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from feature_repo.sample.telco import read_telco
from tests.bench import load_table, open_loop
from tests.bench.open_loop import EachSecond
from tests.bench.request import Request, Target
from tests.bench.tally import Tally

URL, RATE, SECONDS = "http://localhost:8080", 200, 60
MOST_PER_SECOND, MOST_SECONDS = 5_000, 600
OUTPUT = Path("build/load/load.json")
KEY = "API_KEY"


def drive(
    url: str,
    rate: int,
    seconds: float,
    *,
    host: str = "",
    key: str = "",
    users: Sequence[str] = (),
    stop: threading.Event | None = None,
    each_second: EachSecond = lambda _second, _tally: None,
) -> Tally:
    """Ask for the features of users (default: the sample's) `rate` times a second, until time is up or `stop` is set.

    `host`: another Host header than the URL's; `key`: an API key. ValueError for what is not allowed, OSError if nobody
    answers at the URL; in both cases nothing was sent.
    """
    target = Target.of_url(url)
    if not 1 <= rate <= MOST_PER_SECOND:
        raise ValueError(f"a rate of {rate:,} is not from 1 to {MOST_PER_SECOND:,} requests a second")
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"{seconds:,} s is not more than 0 and up to {MOST_SECONDS} s")
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]*", host):
        raise ValueError(f"{host!r} is no name of a host")
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError("the API key holds a character that no header can")
    paths = [f"{target.path}/features/{quote(user, safe='')}" for user in users or sample_users()]
    requests = [Request("GET", path) for path in paths]
    return open_loop.run(target, requests, rate, seconds, host=host, key=key, stop=stop, each_second=each_second)


def sample_users() -> list[str]:
    """The customers of the sample's first month, in an order that no cache likes; some have left in later months."""
    found: list[str] = sorted(read_telco()["customerID"].to_pylist())
    return random.Random(7).sample(found, len(found))


def main() -> int:
    """Drive the load that the flags ask for; 0 when it was driven, 1 if nobody listens, 2 for a wrong flag."""
    parser = _parser()
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        tally = drive(
            arguments.url, arguments.rate, arguments.seconds, host=arguments.host, key=os.environ.get(KEY, ""),
            users=_users(arguments.users), stop=stop, each_second=load_table.Table(sys.stdout),
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        print(f"Nobody answers at {arguments.url}: {error}", file=sys.stderr)
        return 1
    load_table.print_totals(tally, sys.stdout)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    asked = {"url": arguments.url, "rate": arguments.rate, "seconds": arguments.seconds}
    OUTPUT.write_text(json.dumps(asked | load_table.document(tally), indent=2) + "\n")
    print(f"also in {OUTPUT}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.load",
        allow_abbrev=False,
        description=f"Reads features at a chosen rate and shows what comes back. An API key is in the variable {KEY}.",
    )
    parser.add_argument(
        "--url", default=URL, help="base URL of the gateway or of what is before it (default %(default)s)"
    )
    parser.add_argument("--host", default="", help="another Host header than the URL's")
    parser.add_argument(
        "--rate", type=int, default=RATE, help=f"requests a second, up to {MOST_PER_SECOND:,} (default %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, help=f"how long, up to {MOST_SECONDS} (default %(default)s)"
    )
    parser.add_argument("--users", type=Path, metavar="FILE", help="ids to ask for, one a line (default: the sample's)")
    return parser


def _users(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        found = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the users from {file}: {error}") from None
    if not found:
        raise ValueError(f"{file} holds no id")
    return found


if __name__ == "__main__":
    sys.exit(main())

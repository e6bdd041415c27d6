"""What no engine goes below: Redis fed prepared commands, and Postgres' binary COPY of the joined rows to nowhere.

`python -m tests.bench.floors redis FILE REPLIES`, with BENCH_REDIS as host:port:password, and
`python -m tests.bench.floors copy QUERY`, with libpq's variables.
"""

import os
import socket
import sys
import threading
from pathlib import Path

import psycopg

from tests.bench.events import FINISHED, STARTED, mark

BLOCK = 1 << 20


def feed(commands: Path, replies: int) -> None:
    """Send a file of commands, each answered by one line, and wait for that many lines. RuntimeError for an error."""
    host, port, password = os.environ["BENCH_REDIS"].split(":", 2)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"AUTH {password}\r\n".encode())
        _await_lines(connection, 1)
        mark(STARTED)
        sender = threading.Thread(target=_send, args=(connection, commands))
        sender.start()
        _await_lines(connection, replies)
        sender.join()
        mark(FINISHED)


def _send(connection: socket.socket, commands: Path) -> None:
    with commands.open("rb") as file:
        while block := file.read(BLOCK):
            connection.sendall(block)


def _await_lines(connection: socket.socket, count: int) -> None:
    while count > 0:
        received = connection.recv(BLOCK)
        if not received or b"-" in received:  # numbers of fields that were new, and +OK, hold none
            raise RuntimeError(f"Redis said {received[:200]!r}")
        count -= received.count(b"\n")


def copy(query: str) -> None:
    """Read the answer as binary COPY and forget it."""
    with psycopg.connect(options="-c search_path=offline") as connection, connection.cursor() as cursor:
        mark(STARTED)
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as blocks, Path(os.devnull).open("wb") as nowhere:
            for block in blocks:
                nowhere.write(block)
        mark(FINISHED)


if __name__ == "__main__":
    if sys.argv[1] == "redis":
        feed(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        copy(sys.argv[2])

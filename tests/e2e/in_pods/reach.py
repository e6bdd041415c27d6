"""What this pod reaches. stdin: name -> HOST:PORT to connect to, or HOST to look up; stdout: name -> bool.

What was closed at every try for SECONDS is closed: an edge that opens late is open.
"""

import json
import os
import socket
import sys
import threading
import time

SECONDS = 6.0
TRY_SECONDS = 1.0
BETWEEN_TRIES_SECONDS = 0.1


def reached(address: str, deadline: float) -> bool:
    """Whether a try succeeds before `deadline` (of time.monotonic)."""
    host, _, port = address.partition(":")
    while time.monotonic() < deadline:
        try:
            if port:
                socket.create_connection((host, int(port)), TRY_SECONDS).close()
            else:
                socket.getaddrinfo(host, None)
            return True
        except OSError:
            time.sleep(BETWEEN_TRIES_SECONDS)
    return False


def main() -> None:
    """Try all at once."""
    deadline = time.monotonic() + SECONDS
    addresses: dict[str, str] = json.load(sys.stdin)
    answers = dict.fromkeys(addresses, False)

    def note(name: str) -> None:
        answers[name] = reached(addresses[name], deadline)

    threads = [threading.Thread(target=note, args=(name,)) for name in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + TRY_SECONDS - time.monotonic()))
    print(json.dumps(answers), flush=True)
    os._exit(0)  # a resolver that still waits for its server is not waited for


if __name__ == "__main__":
    main()

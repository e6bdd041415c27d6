"""When a server that went away was back, as its clients see it. stdin: HOST:PORT, in JSON; its end ends the watch.

stdout: a line when the server is seen for the first time, then the time (time.time()) of its latest return, or null.
"""

import json
import socket
import sys
import threading
import time

TRY_SECONDS = 0.25
BETWEEN_TRIES_SECONDS = 0.02
WATCHING = "watching"


class Watch(threading.Thread):
    """Connects again and again."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        host, _, port = address.partition(":")
        self._address = host, int(port)
        self.returned: float | None = None

    def run(self) -> None:
        """Until the process ends."""
        there = False
        seen = False
        while True:
            was_there, there = there, self._answers()
            if there and not was_there:
                if seen:
                    self.returned = time.time()
                else:
                    seen = True
                    print(WATCHING, flush=True)
            time.sleep(BETWEEN_TRIES_SECONDS)

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._address, TRY_SECONDS).close()
        except OSError:
            return False
        return True


if __name__ == "__main__":
    watch = Watch(json.loads(sys.stdin.readline()))
    watch.start()
    sys.stdin.read()
    print(json.dumps(watch.returned), flush=True)

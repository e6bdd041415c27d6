"""Traffic as traffic.py sends it, from a pod: straight to a Service, with no proxy between that would ask twice."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

from tests.e2e.toolbox import Toolbox
from tests.e2e.traffic import STARTED, Recording, RightAnswers, order, read_report

HERE = Path(__file__).parent
MODULES = ("traffic.py", "traffic_client.py")
FOLDER = "/tmp"
# Beside the commands that start and end it: a connection of `kubectl exec` that lasts is one more thing that can break.
START = f"""
cd {FOLDER} && rm -f end ended said && cat > order
((cat order; until test -e end; do sleep 0.1; done) | python -m tests.e2e.traffic_client > said 2> trouble
 echo $? > ended) < /dev/null > /dev/null 2>&1 &
until grep -qs {STARTED} said || test -e ended; do sleep 0.1; done
"""
END = f"""
cd {FOLDER} && touch end
until test -e ended; do sleep 0.1; done
cat trouble >&2; tail -n 1 said; exit "$(cat ended)"
"""


def put_client(pod: Toolbox) -> None:
    """Give the pod the client, which its image does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(folder, "tests", "e2e")
        modules.mkdir(parents=True)
        for name in MODULES:
            copy(HERE / name, modules)
        pod.put(modules.parent, FOLDER)


@contextmanager
def traffic_in_pod(pod: Toolbox, url: str, host: str, right: RightAnswers, per_second: int) -> Iterator[Recording]:
    """Like `traffic`, in a pod that has the client. Raises CommandError if the client itself broke."""
    recording = Recording()
    pod.run("sh", "-c", START, stdin=order(url, host, right, per_second))
    try:
        yield recording
    finally:
        said = pod.run("sh", "-c", END)
    recording.report = read_report(said)

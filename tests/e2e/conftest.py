"""The cluster of a session, a namespace per module, and what is kept of a failure."""

import fcntl
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import urllib3
from kubernetes.client.exceptions import ApiException

from tests.e2e import diagnostics
from tests.e2e.cluster import OUTPUT, Cluster, fresh_cluster
from tests.e2e.namespace import Namespace, fresh_namespace

HERE = Path(__file__).parent
SESSION_CLUSTER = "feature-platform-e2e"
FIRST_MODULES = ("test_smoke",)  # what it installs into should be as empty as a user's
LAST_MODULES = ("test_node_restart",)  # it restarts the session's cluster
TEST_SECONDS = 900.0
NAMESPACES = pytest.StashKey[list[Namespace]]()
TOLD = pytest.StashKey[list[BaseException]]()
"""Failures that are written down: a fixture's is reported again for each test that needs the fixture."""

NewCluster = Callable[[int], AbstractContextManager[Cluster]]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only when asked for by path: this needs Docker, and much longer than all the others."""
    asked = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NAMESPACES], config.stash[TOLD] = [], []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.timeout(TEST_SECONDS))
    items.sort(key=lambda item: (item.path.stem in LAST_MODULES) - (item.path.stem in FIRST_MODULES))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if report.failed and error is not None and error not in item.config.stash[TOLD]:
        item.config.stash[TOLD].append(error)
        for namespace in item.config.stash[NAMESPACES]:
            report.sections.append((f"namespace {namespace.name}", _told(namespace, item.name)))
    return report


def _told(namespace: Namespace, test: str) -> str:
    try:
        return diagnostics.write(namespace, OUTPUT / namespace.name / test)
    except (AssertionError, ApiException, urllib3.exceptions.HTTPError, OSError) as error:
        return f"the cluster cannot be asked any more: {error}"


@pytest.fixture(scope="session")
def only_session() -> Iterator[None]:
    """One session at a time on this machine: two would remove each other's cluster."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit("another session of these tests runs on this machine; wait for its end", returncode=2)
        yield


@pytest.fixture(scope="session")
def clean_end() -> Iterator[None]:
    """SIGTERM ends the session like Ctrl-C: fixtures put away what they have made."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, clean_end: None) -> Iterator[Cluster]:
    """The session's cluster, which ends with it; E2E_CLUSTER names one that is there and stays."""
    if existing := os.environ.get("E2E_CLUSTER"):
        yield Cluster(existing)
        return
    request.getfixturevalue("only_session")
    with fresh_cluster(SESSION_CLUSTER) as started:
        yield started


@pytest.fixture(scope="session")
def new_cluster(request: pytest.FixtureRequest, clean_end: None) -> NewCluster:
    """For a module that needs more nodes, or a cluster to break: `with new_cluster(workers) as cluster`.

    E2E_CLUSTER_NODES, as in E2E_CLUSTER_3, names one of so many nodes that is there and stays.
    """

    def started(workers: int) -> AbstractContextManager[Cluster]:
        if existing := os.environ.get(f"E2E_CLUSTER_{workers + 1}"):
            return nullcontext(Cluster(existing))
        request.getfixturevalue("only_session")
        return fresh_cluster(f"{SESSION_CLUSTER}-{workers + 1}", workers)

    return started


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """The module's namespace."""
    with namespace_for(cluster, request) as started:
        yield started


@contextmanager
def namespace_for(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace named after the module; what happened in it is written down when a test fails."""
    module = request.path.stem.removeprefix("test_").replace("_", "-")
    watched = request.config.stash[NAMESPACES]
    with fresh_namespace(cluster, f"e2e-{module}") as started:
        watched.append(started)
        try:
            yield started
        finally:
            watched.remove(started)

"""The repository's definitions into Feast's registry: rehearsed on a throw-away registry first, verified afterwards."""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from jobs import declared, postgres, source_columns
from jobs.definitions import ON_DEMAND, SERVICE, VIEW, Definitions, resolve
from jobs.errors import UsageError, VerificationError
from jobs.feast_store import open_store
from jobs.findings import Findings
from jobs.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_config import RepoConfig
    from feast.repo_contents import RepoContents


def apply_repository(settings: Settings, before_change: Callable[[], None]) -> Definitions:
    """Do what `feast apply` does, all or nothing, and return what the registry holds now.

    `before_change` is called between the rehearsal and the first change. Raises RefusedError, which names all that is
    wrong, when the repository or what it defines cannot be used; nothing has changed then.
    """
    store = open_store(settings)
    repository = settings.repo.resolve()
    contents = _parse(repository, store.project)
    rehearsed = _checked(store.config, repository, contents)
    before_change()
    _keep_dates(store, contents)
    _apply(store, contents)
    definitions = resolve(store)
    if definitions != rehearsed:
        raise VerificationError("the registry does not hold what the repository defines; run apply again")
    return definitions


def _checked(config: "RepoConfig", repository: Path, contents: "RepoContents") -> Definitions:
    """What the registry will hold. Raises RefusedError."""
    findings = Findings()
    declared.check(config, contents, findings)
    with tempfile.TemporaryDirectory() as folder:
        definitions = resolve(_rehearsal(repository, contents, Path(folder), findings), findings)
    # Feast 0.67 takes a Postgres source at its word.
    with postgres.connect("apply sources", autocommit=True) as connection:
        for view in definitions.views:
            source_columns.check(connection, view, findings)
    findings.raise_any()
    return definitions


def _rehearsal(repository: Path, contents: "RepoContents", folder: Path, findings: Findings) -> "FeatureStore":
    """A throw-away registry that holds all that Feast takes of the repository; what it refuses is among `findings`."""
    whole = _with_file_registry(repository, folder / "whole")
    try:
        _apply(whole, contents)
    except UsageError as error:
        return _object_by_object(repository, contents, folder / "apart", findings, error)
    return whole


def _object_by_object(
    repository: Path, contents: "RepoContents", folder: Path, findings: Findings, refusal: UsageError
) -> "FeatureStore":
    """Feast's first `refusal` hides the others, so each object is applied alone, behind those that it is made of."""
    store = _with_file_registry(repository, folder)
    _apply_objects(store, [*contents.projects, *contents.entities])
    known, refused = findings.names(SERVICE), set[str]()
    kinds: list[tuple[str, list[Any]]] = [
        (VIEW, [*contents.feature_views, *contents.stream_feature_views]),
        (ON_DEMAND, contents.on_demand_feature_views),
        (SERVICE, [service for service in contents.feature_services if service.name not in known]),
    ]
    for kind, things in kinds:
        for thing in things:
            if not declared.views_of(thing) & refused and not _is_taken(store, kind, thing, findings):
                refused.add(thing.name)
    if not refused and not known:
        findings.add("repository", store.project, str(refusal))
    return store


def _is_taken(store: "FeatureStore", kind: str, thing: Any, findings: Findings) -> bool:
    with findings.of(kind, thing.name):
        _apply_objects(store, [thing], f" of {kind} {thing.name}")
        return True
    return False


def _parse(repository: Path, project: str) -> "RepoContents":
    from feast import Project
    from feast.repo_operations import parse_repo

    with _feast_at(repository):
        try:
            contents = parse_repo(repository)
        except Exception as error:  # the repository's own code runs here: anything may come out of it
            raise UsageError(f"the repository {repository} cannot be read: {type(error).__name__}: {error}") from error
    names = [found.name for found in contents.projects] or [project]
    if names != [project]:
        raise UsageError(f"the repository defines project {', '.join(names)}, feature_store.yaml says {project}")
    if not contents.projects:
        contents.projects.append(Project(name=project))
    return contents


def _keep_dates(store: "FeatureStore", contents: "RepoContents") -> None:
    # Feast 0.67 compares a project's dates too: without them each apply would change the registry.
    known = {project.name: project for project in store.registry.list_projects(allow_cache=False)}
    for project in contents.projects:
        if project.name in known:
            project.created_timestamp = known[project.name].created_timestamp
            project.last_updated_timestamp = known[project.name].last_updated_timestamp


def _with_file_registry(repository: Path, folder: Path) -> "FeatureStore":
    from feast import FeatureStore

    folder.mkdir()
    settings = yaml.safe_load((repository / "feature_store.yaml").read_text())
    settings["registry"] = {"registry_type": "file", "path": str(folder / "registry.db")}
    rehearsal = folder / "feature_store.yaml"
    rehearsal.write_text(yaml.safe_dump(settings))
    return FeatureStore(repo_path=str(repository), fs_yaml_file=rehearsal)


def _apply(store: "FeatureStore", contents: "RepoContents") -> None:
    from feast.repo_operations import apply_total_with_repo_instance

    with _refusals(store):
        apply_total_with_repo_instance(store, store.project, store.registry, contents, skip_source_validation=False)


def _apply_objects(store: "FeatureStore", objects: list[Any], of: str = "") -> None:
    with _refusals(store, of):
        store.apply(objects)


@contextlib.contextmanager
def _refusals(store: "FeatureStore", of: str = "") -> Iterator[None]:
    """Within, Feast applies; what it refuses is a UsageError."""
    with _feast_at(Path(store.repo_path)) as output:
        try:
            yield
        except (Exception, SystemExit) as error:  # Feast's checks raise what they like, and exit where they print
            reason = " ".join((str(error) or output.getvalue()).split())
            raise UsageError(f"Feast refuses the definitions{of}: {type(error).__name__}: {reason[:500]}") from error


@contextlib.contextmanager
def _feast_at(repository: Path) -> Iterator[io.StringIO]:
    """Inside the repository, as Feast expects it; what it prints and warns stays out of the job's own output."""
    before = Path.cwd()
    os.chdir(repository)
    output = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(output):
            warnings.simplefilter("ignore")
            yield output
    finally:
        os.chdir(before)

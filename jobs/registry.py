"""The repository's definitions into Feast's registry: rehearsed on a throw-away registry first, verified afterwards."""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from jobs import postgres
from jobs.definitions import Definitions, resolve
from jobs.errors import UsageError, VerificationError
from jobs.feast_store import open_store
from jobs.online.current_rows import check_source
from jobs.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_contents import RepoContents


def apply_repository(settings: Settings, before_change: Callable[[], None]) -> Definitions:
    """Do what `feast apply` does, all or nothing, and return what the registry holds now.

    `before_change` is called between the rehearsal and the first change. Raises UsageError when the repository or what
    it defines cannot be used; nothing has changed then.
    """
    store = open_store(settings)
    repository = settings.repo.resolve()
    contents = _parse(repository, store.project)
    with tempfile.TemporaryDirectory() as folder:
        rehearsal = _with_file_registry(repository, Path(folder))
        _apply(rehearsal, contents)
        rehearsed = resolve(rehearsal)
    _check_sources(rehearsed)
    before_change()
    _keep_dates(store, contents)
    _apply(store, contents)
    definitions = resolve(store)
    if definitions != rehearsed:
        raise VerificationError("the registry does not hold what the repository defines; run apply again")
    return definitions


def _check_sources(definitions: Definitions) -> None:
    # Feast 0.67 takes a Postgres source at its word.
    with postgres.connect("apply sources", autocommit=True) as connection:
        for view in definitions.views:
            check_source(connection, view)


def _parse(repository: Path, project: str) -> "RepoContents":
    from feast import Project
    from feast.repo_operations import is_valid_name, parse_repo

    if not is_valid_name(project):
        raise UsageError(
            f"project {project} is not a name that Feast takes: letters, digits, _ and -, with a letter or digit first"
        )
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

    settings = yaml.safe_load((repository / "feature_store.yaml").read_text())
    settings["registry"] = {"registry_type": "file", "path": str(folder / "registry.db")}
    rehearsal = folder / "feature_store.yaml"
    rehearsal.write_text(yaml.safe_dump(settings))
    return FeatureStore(repo_path=str(repository), fs_yaml_file=rehearsal)


def _apply(store: "FeatureStore", contents: "RepoContents") -> None:
    from feast.repo_operations import apply_total_with_repo_instance

    with _feast_at(Path(store.repo_path)) as output:
        try:
            apply_total_with_repo_instance(store, store.project, store.registry, contents, skip_source_validation=False)
        except (Exception, SystemExit) as error:  # Feast's checks raise what they like, and exit where they print
            reason = " ".join((str(error) or output.getvalue()).split())
            raise UsageError(f"Feast refuses the definitions: {type(error).__name__}: {reason[:500]}") from error


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

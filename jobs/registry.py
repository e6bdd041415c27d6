"""The repository's definitions into Feast's registry: rehearsed on a throw-away registry first, verified afterwards."""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import yaml
from psycopg import sql

from jobs import declared, source_columns
from jobs.definitions import ON_DEMAND, SERVICE, VIEW, Definitions, resolve
from jobs.errors import UsageError
from jobs.feast_store import open_store
from jobs.findings import Findings
from jobs.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_contents import RepoContents


class Repository:
    """A Feast repository that was read, and of which nothing is applied yet."""

    def __init__(self, settings: Settings) -> None:
        """Read it. Raises UsageError when its modules cannot be imported or it is of another project."""
        self._folder = settings.repo.resolve()
        self._store = open_store(settings)
        self._contents = _parse(self._folder, self._store.project)

    def rehearse(self, connection: psycopg.Connection) -> Definitions:
        """What the registry will hold; raises RefusedError, which names all that is wrong. Changes nothing.

        The sources are looked at through `connection`, which may be within a transaction: no other sees its changes.
        """
        findings = Findings()
        declared.check(self._store.config, self._contents, findings)
        with tempfile.TemporaryDirectory() as folder, _described_by(connection, self._contents):
            definitions = resolve(_rehearsal(self._folder, self._contents, Path(folder), findings), findings)
        # Feast 0.67 takes a Postgres source at its word.
        for view in definitions.views:
            source_columns.check(connection, view, findings)
        findings.raise_any()
        return definitions

    def apply(self) -> Definitions:
        """Do what `feast apply` does, and return what the registry holds now."""
        _keep_dates(self._store, self._contents)
        _apply(self._store, self._contents)
        return resolve(self._store)


@contextlib.contextmanager
def _described_by(connection: psycopg.Connection, contents: "RepoContents") -> Iterator[None]:
    """Within, Feast infers the columns of a source through this connection and not through one of its own."""
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource

    views = [*contents.feature_views, *contents.stream_feature_views]
    sources = [*contents.data_sources, *(view.batch_source for view in views)]
    described = [source for source in sources if isinstance(source, PostgreSQLSource)]
    name = PostgreSQLSource.get_table_column_names_and_types.__name__
    for source in described:
        setattr(source, name, partial(_names_and_types, connection, source))
    try:
        yield
    finally:
        for source in described:
            vars(source).pop(name, None)


def _names_and_types(connection: psycopg.Connection, source: Any, **_: object) -> list[tuple[str, str]]:
    from feast.type_map import pg_type_code_to_pg_type

    query = sql.SQL("SELECT * FROM {} AS snapshots LIMIT 0").format(sql.SQL(source.get_table_query_string()))
    with connection.transaction():
        described = connection.execute(query).description or []
    return [(column.name, pg_type_code_to_pg_type(column.type_code)) for column in described]


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

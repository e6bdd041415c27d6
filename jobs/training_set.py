"""Build a training set that is right in both times: Parquet, CSV and a manifest that proves it.

Every month-end in the window is an event timestamp; its rows are the customers who were there at that instant, with
the features known by then (and a grace for delivery) and the label that the horizon leads to.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa

from jobs.definitions import Definitions, Service, resolve
from jobs.errors import JobError, UsageError
from jobs.feast_store import import_feast_unchecked, open_store
from jobs.flags import job_parser
from jobs.instants import isoformat, parse_instant
from jobs.runner import Run, run_job
from jobs.settings import Settings, load_settings
from jobs.training.files import write_set
from jobs.training.leak_proof import prove_labels, prove_view
from jobs.training.manifest import manifest, registry_hash
from jobs.training.output import Output, parse_output
from jobs.training.rows import EVENT_TIMESTAMP, RULES, Counts, Labels, TrainingRows, check_keys, find_labels, window_of
from jobs.training.views import TrainingView, feature_columns, find_service, training_views
from jobs.training.window import Horizon, LabelledInstant, labelled_instants, parse_horizon

if TYPE_CHECKING:
    from feast import FeatureStore


def _parser() -> argparse.ArgumentParser:
    parser = job_parser("training_set", __doc__ or "")
    parser.add_argument(
        "--start", metavar="T", help="first instant of the window, included (default: the oldest snapshot)"
    )
    parser.add_argument(
        "--end",
        metavar="T",
        help="last instant of the window, included, not past the newest snapshot, which is the default",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=_output,
        required=True,
        help="folder of the set, or its URL as fsspec takes it, like s3://bucket/folder; a former set is replaced",
    )
    parser.add_argument("--feature-service", metavar="NAME", help='default: the one tagged default: "true"')
    parser.add_argument(
        "--label-horizon",
        metavar="H",
        default="1mo",
        help="from event timestamp to label: months (1mo), days (30d), or 0 for the same instant (default: 1mo)",
    )
    parser.add_argument(
        "--full-feature-names", action="store_true", help="write the feature view in front of each feature's name"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; exit code 0 done, 1 failed or the window is past the newest snapshot, 2 wrong usage, 3 no row."""
    return run_job("training_set", _parser(), argv, build_training_set)


def build_training_set(arguments: argparse.Namespace, run: Run) -> str:
    """Write the set and return one line about it. Raises JobError; then no part of the set is taken for a whole one."""
    horizon = parse_horizon(arguments.label_horizon)
    start, end = _instant("--start", arguments.start), _instant("--end", arguments.end)
    if start and end:
        labelled_instants(start, end, horizon)
    output: Output = arguments.output
    output.check()
    request = _Request.of(load_settings(), arguments.feature_service, full_names=arguments.full_feature_names)
    with _snapshot(request.store) as connection:
        oldest, newest = window_of(connection, request.views)
        instants = labelled_instants(start or oldest, end or newest, horizon)
        _check_reached(instants[-1].event_timestamp, newest)
        training_set = _Builder(request, instants, horizon, connection, run).build()
    output.put(lambda folder: write_set(training_set.table, training_set.manifest, folder))
    return _summary(training_set, request.service, output, run)


@dataclass(frozen=True)
class _TrainingSet:
    table: pa.Table
    counts: list[Counts]
    manifest: dict[str, object]


@dataclass(frozen=True)
class _Request:
    """What is asked for, resolved and checked before anything is read."""

    store: "FeatureStore"
    definitions: Definitions
    service: Service
    views: list[TrainingView]
    labels: Labels
    columns: dict[str, str]
    """Full name to the name in the set, of each feature in the service's order."""
    grace: timedelta

    @staticmethod
    def of(settings: Settings, service_name: str | None, *, full_names: bool) -> "_Request":
        labels = find_labels(settings.repo)
        import_feast_unchecked()
        store = open_store(settings)
        definitions = resolve(store)
        service = find_service(definitions, service_name)
        views = training_views(store.get_feature_service(service.name), definitions)
        check_keys(labels, views)
        columns = feature_columns(service, labels.label, (*labels.key, EVENT_TIMESTAMP), full_names=full_names)
        return _Request(store, definitions, service, views, labels, columns, _grace(store))


class _Builder:
    """Reads one snapshot of the offline store and makes a table of it, proven free of leaks."""

    def __init__(
        self,
        request: _Request,
        instants: list[LabelledInstant],
        horizon: Horizon,
        connection: psycopg.Connection,
        run: Run,
    ) -> None:
        self._request, self._instants, self._horizon = request, instants, horizon
        self._connection, self._run = connection, run

    def build(self) -> _TrainingSet:
        request = self._request
        rows = TrainingRows(request.labels, request.views, self._instants, request.grace)
        with self._run.progress(4 + len(request.views), "step", "training set") as progress:
            counts = rows.count(self._connection)
            progress.advance(1)
            joined = self._join(rows)
            progress.advance(2)
            view_proofs = {}
            for view in request.views:
                view_proofs[view.name] = prove_view(self._connection, view, joined, request.grace)
                progress.advance(1)
            label_proof = prove_labels(self._connection, request.labels, self._instants, joined)
            progress.advance(1)
        self._check_rows(joined, counts)
        table = self._arranged(joined)
        about = manifest(
            project=request.store.project,
            feature_service=request.service.name,
            registry=registry_hash(request.store, request.definitions),
            horizon=self._horizon,
            grace=request.grace,
            counts=counts,
            table=table,
            label=request.labels.label,
            view_proofs=view_proofs,
            label_proof=label_proof,
        )
        return _TrainingSet(table, counts, about)

    def _join(self, rows: TrainingRows) -> pa.Table:
        """Feast's answer, under full names, so that no two features can be taken for each other."""
        service = self._request.store.get_feature_service(self._request.service.name)
        job = self._request.store.get_historical_features(rows.entity_query(), service, full_feature_names=True)
        return job.to_arrow()

    def _check_rows(self, joined: pa.Table, counts: Sequence[Counts]) -> None:
        expected = sum(count.rows for count in counts)
        if joined.num_rows != expected:
            raise JobError(
                f"the join gave {joined.num_rows} rows for {expected} of the population; nothing was written"
            )

    def _arranged(self, joined: pa.Table) -> pa.Table:
        """Key columns, event timestamp, features, label; rows by key, then event timestamp, whatever the collation."""
        labels, columns = self._request.labels, self._request.columns
        wanted = [*labels.key, EVENT_TIMESTAMP, *columns, labels.label]
        ordered = joined.select(wanted).sort_by([(name, "ascending") for name in (*labels.key, EVENT_TIMESTAMP)])
        return ordered.rename_columns([columns.get(name, name) for name in wanted]).combine_chunks()


@contextmanager
def _snapshot(store: "FeatureStore") -> Iterator[psycopg.Connection]:
    """A session that reads one snapshot of the offline store, as Feast's queries within the block do."""
    from jobs.feast_plugins.retrieval import exported_snapshot

    with exported_snapshot(store.config.offline_store) as connection:
        yield connection


def _grace(store: "FeatureStore") -> timedelta:
    from jobs.feast_plugins.offline_store import TYPE, PointInTimePostgreSQLOfflineStoreConfig

    settings = store.config.offline_store
    if not isinstance(settings, PointInTimePostgreSQLOfflineStoreConfig):
        raise UsageError(f"feature_store.yaml: offline_store.type is {settings.type}; training sets need {TYPE}")
    return settings.grace


def _output(text: str) -> Output:
    try:
        return parse_output(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _check_reached(last: datetime, newest: datetime) -> None:
    """A month that is not there yet would be left out of the set without a word."""
    if last > newest:
        raise JobError(
            f"the window's last month-end is {isoformat(last)}, and the newest snapshot is of {isoformat(newest)}; "
            f"ingest what lies between, or write --end {isoformat(newest)}"
        )


def _instant(flag: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_instant(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from error


def _summary(training_set: _TrainingSet, service: Service, output: Output, run: Run) -> str:
    removed = {rule: sum(count.removed[rule] for count in training_set.counts) for rule in RULES}
    by_rule = (
        ", ".join(f"{rule} removed {number:,}" for rule, number in removed.items() if number) or "no rule removed any"
    )
    rows = training_set.table.num_rows
    run.details.update({"feature_service": service.name, "rows": rows, "removed": removed, "output": str(output)})
    first, last = training_set.counts[0].event_timestamp, training_set.counts[-1].event_timestamp
    return (
        f"{rows:,} rows of {service.name} at {len(training_set.counts)} month-ends "
        f"from {isoformat(first)} to {isoformat(last)} in {output} ({by_rule})"
    )


if __name__ == "__main__":
    sys.exit(main())

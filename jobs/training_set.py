"""Build a training set that is right in both times: Parquet, CSV and a manifest that proves it.

Every month-end in the window is an event timestamp; its rows are the customers who were there at that instant, with
the features known by then (and a grace for delivery) and the label that the horizon leads to.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.definitions import Definitions, Service, resolve
from jobs.errors import JobError, UsageError
from jobs.feast_store import import_feast_unchecked, open_store
from jobs.flags import job_parser
from jobs.instants import isoformat, parse_instant
from jobs.postgres import estimated_rows
from jobs.runner import Run, run_job
from jobs.settings import Settings, load_settings
from jobs.training.files import Digest, write_set
from jobs.training.manifest import ColumnAbout, manifest, registry_hash
from jobs.training.output import Output, parse_output
from jobs.training.proven_rows import ProvenRows
from jobs.training.rows import (
    EVENT_TIMESTAMP,
    RULES,
    Counts,
    Labels,
    check_keys,
    find_labels,
    left_out_rows,
    window_of,
)
from jobs.training.views import TrainingView, feature_columns, find_service, training_views
from jobs.training.window import Horizon, LabelledInstant, labelled_instants, parse_horizon

if TYPE_CHECKING:
    from feast import FeatureStore

NOTES = {
    "left_out_rows": "source rows left out for want of a key or time",
    "defaulted_elements": "NULLs in lists replaced by defaults",
}


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
    builder = _Builder(request, start, end, horizon, run)
    output.put(builder.write)
    run.details.update(builder.notes)
    return _summary(builder.counts, request.service, output, run)


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
    """Reads one snapshot of the offline store and writes a set from it, part by part, each proven free of leaks."""

    def __init__(
        self, request: _Request, start: datetime | None, end: datetime | None, horizon: Horizon, run: Run
    ) -> None:
        self._request, self._horizon, self._run = request, horizon, run
        self._start, self._end = start, end
        self._nulls: Counter[str] = Counter()
        self._defaulted: Counter[str] = Counter()
        self._left_out: dict[str, int] = {}
        self._schema = pa.schema([])
        self._names: dict[str, str] = {}
        self.counts: list[Counts] = []
        """Of each event timestamp, once the set is written."""

    @property
    def notes(self) -> dict[str, int]:
        """What was not read as it stands: rows without a key or a time, and NULLs in lists."""
        return {"left_out_rows": sum(self._left_out.values()), "defaulted_elements": self._defaulted.total()}

    def write(self, folder: Path) -> Mapping[str, Digest]:
        """Write the files of the set. Raises JobError when it has no rows, or shows what could not be known."""
        from jobs.feast_plugins.sessions import arrow_snapshot, exported_snapshot

        request = self._request
        config = request.store.config.offline_store
        with exported_snapshot(config) as connection, arrow_snapshot(config) as snapshot:
            oldest, newest = window_of(connection, request.views)
            instants = labelled_instants(self._start or oldest, self._end or newest, self._horizon)
            _check_reached(instants[-1].event_timestamp, newest)
            self._left_out = {view.name: left_out_rows(connection, view, instants) for view in request.views}
            rows = ProvenRows(request.views, request.labels, instants, request.grace, snapshot)
            expected = sum(estimated_rows(connection, query) for query in rows.queries)
            with (
                self._run.progress(expected, "row", "training set") as progress,
                closing(self._arranged(rows, instants, progress.advance)) as tables,
            ):
                written = write_set(tables, lambda: self._manifest(rows), folder)
            self.counts = rows.counts
            return written

    def _arranged(
        self, rows: ProvenRows, instants: Sequence[LabelledInstant], advance: Callable[[int], None]
    ) -> Generator[pa.Table, None, None]:
        """Key columns, event timestamp, features, label; rows by key, then event timestamp, whatever the collation."""
        labels, columns = self._request.labels, self._request.columns
        wanted = [*labels.key, EVENT_TIMESTAMP, *columns, labels.label]
        self._names = {name: columns.get(name, name) for name in wanted}
        names = list(self._names.values())
        between = instants[0].event_timestamp, instants[-1].event_timestamp
        for table in rows.tables(lambda schema, tables: self._join(schema, between, tables), advance):
            ordered = table.select(wanted).rename_columns(names)
            self._nulls.update({name: ordered[name].null_count for name in names})
            self._schema = ordered.schema
            yield ordered

    def _join(
        self, schema: pa.Schema, between: tuple[datetime, datetime], tables: Iterator[pa.Table]
    ) -> Generator[pa.Table, None, None]:
        """Feast's answer, under full names, so that no two features can be taken for each other."""
        from jobs.feast_plugins.entity_rows import EntityStream

        store, key = self._request.store, self._request.labels.key
        entities: Any = EntityStream(schema, key, between, tables)
        service = store.get_feature_service(self._request.service.name)
        job: Any = store.get_historical_features(entities, service, full_feature_names=True)
        yield from job.parts()
        self._defaulted = job.defaulted_elements

    def _manifest(self, rows: ProvenRows) -> dict[str, object]:
        request = self._request
        view_proofs, label_proof = rows.proofs
        return manifest(
            project=request.store.project,
            feature_service=request.service.name,
            registry=registry_hash(request.store, request.definitions),
            horizon=self._horizon,
            grace=request.grace,
            counts=rows.counts,
            left_out_rows=self._left_out,
            columns=[
                ColumnAbout(name, str(self._schema.field(name).type), self._nulls[name], self._defaulted[full_name])
                for full_name, name in self._names.items()
            ],
            label=request.labels.label,
            view_proofs=view_proofs,
            label_proof=label_proof,
        )


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


def _summary(counts: Sequence[Counts], service: Service, output: Output, run: Run) -> str:
    removed = {rule: sum(count.removed[rule] for count in counts) for rule in RULES}
    by_rule = (
        ", ".join(f"{rule} removed {number:,}" for rule, number in removed.items() if number) or "no rule removed any"
    )
    by_rule += "".join(f", {run.details[name]:,} {text}" for name, text in NOTES.items() if run.details[name])
    rows = sum(count.rows for count in counts)
    run.details.update({"feature_service": service.name, "rows": rows, "removed": removed, "output": str(output)})
    first, last = counts[0].event_timestamp, counts[-1].event_timestamp
    return (
        f"{rows:,} rows of {service.name} at {len(counts)} month-ends "
        f"from {isoformat(first)} to {isoformat(last)} in {output} ({by_rule})"
    )


if __name__ == "__main__":
    sys.exit(main())

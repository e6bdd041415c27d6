"""`python -m jobs.materialize`: make the online store show an instant T, verified before anything says so."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import psycopg

from jobs import postgres
from jobs.arrow_query import ArrowDatabase
from jobs.background import entered_ahead
from jobs.definitions import SnapshotView
from jobs.errors import JobError, UsageError
from jobs.flags import add_lock_wait, job_parser
from jobs.instants import isoformat, parse_instant, utc_now
from jobs.lock import WriterLock, writer_lock
from jobs.online import current_rows, run_history
from jobs.online import store as online_store
from jobs.online.local_engine import LocalEngine
from jobs.online.materializer import Engine, Materializer, ViewResult, details_of
from jobs.online.partition_task import offline_store
from jobs.online.retirement import purge_retired, retired_features
from jobs.online.serving_plan import Publication, build_plan, publish_plan
from jobs.online.status import ViewStatus, read_status, write_status
from jobs.registry_reader import RegistryReader
from jobs.runner import Run, run_job
from jobs.settings import Settings, load_settings


def _parser() -> argparse.ArgumentParser:
    parser = job_parser(
        "materialize",
        "Make the online store show an instant T: for every entity and feature view the row with the greatest\n"
        "(as_of, created_at) with as_of <= T, unless it is older than the view's ttl, then nothing. Corrections\n"
        "land, leavers disappear, a repeat changes nothing; interrupted and run again it ends in the same bytes.",
    )
    parser.add_argument(
        "--as-of", metavar="T", help="the instant to show (default: the newest as_of in the offline store)"
    )
    parser.add_argument("--rollback", action="store_true", help="allow a T that is earlier than the watermark")
    parser.add_argument(
        "--feature-view",
        action="append",
        metavar="NAME",
        help="materialize this view only; may be repeated (default: all)",
    )
    parser.add_argument(
        "--verify",
        choices=["sample", "full"],
        default="sample",
        help="where nothing is new: compare a count and a sample with the offline store, or all (default: sample)",
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="fill in this process, or on the Ray cluster that RAY_ADDRESS names (default: local)",
    )
    parser.add_argument(
        "--partitions",
        metavar="N",
        type=_positive,
        help="split the entities by their key's hash (default: 1 local, 2 for each of Ray's CPUs)",
    )
    add_lock_wait(parser)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of partitions; write 1 or more")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return run_job("materialize", _parser(), argv, _materialize, around=run_history.shown)


def _materialize(arguments: argparse.Namespace, run: Run) -> str:
    started_at = utc_now()
    asked = None if arguments.as_of is None else _not_in_future(parse_instant(arguments.as_of), started_at)
    settings = load_settings()
    client = online_store.connect(settings)
    client.ping()
    with (
        entered_ahead(offline_store()) as database,
        _ray_cluster(arguments.engine),
        writer_lock(arguments.lock_wait) as lock,
        postgres.connect("materialize") as snapshot,
    ):
        # One snapshot of the offline store for all views, whatever is ingested meanwhile.
        snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        snapshot.read_only = True
        registry = RegistryReader(run.connection, settings)
        definitions = registry.definitions
        views = _selected(definitions.views, arguments.feature_view)
        as_of = asked or _newest(snapshot, views, started_at)
        status = read_status(client, settings.project)
        _check_watermarks(views, status, as_of, rollback=arguments.rollback)
        run.log("materializing", as_of=isoformat(as_of), feature_views=[view.name for view in views])
        engine = _engine(arguments, settings, database, lock)
        materializer = Materializer(client, snapshot, database, settings.project, lock, run, engine)
        outcome = materializer.materialize(views, as_of, status, verify_all=arguments.verify == "full")
        results = outcome.views
        lock.check()
        retained = purge_retired(client, definitions, status, lock)
        if retained != status or any(result.changed for result in results.values()):
            materializer.prove_end_state(views, as_of, outcome, whole=arguments.verify == "full")
        status = retained
        finished = _finished_status(views, results, status, as_of, started_at, run.run_id)
        registry.record_materialization(_news(views, results, status, as_of), as_of)
        write_status(client, settings.project, finished)
        publication = publish_plan(client, settings.project, build_plan(definitions), {**status, **finished})
    run.details |= {"as_of": isoformat(as_of), "publication": publication, **details_of(outcome)}
    return _summary(as_of, results, publication, (utc_now() - started_at).total_seconds())


def _ray_cluster(engine: str) -> AbstractContextManager[None]:
    if engine == "local":
        return nullcontext()
    try:
        from jobs.online.ray_engine import ray_cluster
    except ImportError as error:
        raise UsageError(f"--engine ray needs the package ray: {error}") from error
    return ray_cluster()


def _engine(
    arguments: argparse.Namespace, settings: Settings, database: Callable[[], ArrowDatabase], lock: WriterLock
) -> Engine:
    if arguments.engine == "local":
        return LocalEngine(settings, database, lock, arguments.partitions)
    from jobs.online.ray_engine import RayEngine

    return RayEngine(lock, arguments.partitions)


def _not_in_future(as_of: datetime, now: datetime) -> datetime:
    if as_of > now:
        raise UsageError(
            f"--as-of {isoformat(as_of)} is in the future; the online store can show no later instant than now"
        )
    return as_of


def _selected(views: Sequence[SnapshotView], names: list[str] | None) -> list[SnapshotView]:
    known = {view.name: view for view in views}
    for name in names or []:
        if name not in known:
            raise UsageError(f"--feature-view {name} is not a feature view; there are {', '.join(known)}")
    if not known:
        raise UsageError("the registry holds no feature view that is online; run `python -m jobs.apply` first")
    return [view for view in views if names is None or view.name in names]


def _newest(connection: psycopg.Connection, views: Sequence[SnapshotView], now: datetime) -> datetime:
    newest = current_rows.newest_as_of(connection, views, now)
    if newest is None:
        tables = ", ".join(view.source for view in views)
        raise JobError(f"the offline store holds no snapshot yet ({tables} are empty); ingest one first")
    return newest


def _check_watermarks(
    views: Sequence[SnapshotView], status: dict[str, ViewStatus], as_of: datetime, *, rollback: bool
) -> None:
    later = [view.name for view in views if view.name in status and status[view.name].watermark > as_of]
    if later and not rollback:
        watermark = isoformat(max(status[name].watermark for name in later))
        raise UsageError(
            f"the online store shows {watermark} ({', '.join(later)}), which is later than {isoformat(as_of)}; "
            "go back with --rollback, or name a later --as-of"
        )


def _finished_status(
    views: Sequence[SnapshotView],
    results: dict[str, ViewResult],
    status: dict[str, ViewStatus],
    as_of: datetime,
    started_at: datetime,
    run_id: int,
) -> dict[str, ViewStatus]:
    return {
        view.name: ViewStatus(
            watermark=as_of,
            rows=results[view.name].rows,
            started_at=started_at,
            finished_at=utc_now(),
            features=view.feature_types,
            retired=retired_features(view.feature_types, status.get(view.name)),
            previous_rows=_previous_rows(status.get(view.name), as_of),
            run_id=run_id,
            left_out_rows=results[view.name].left_out_rows,
            defaulted_elements=results[view.name].defaulted_elements,
        )
        for view in views
    }


def _previous_rows(before: ViewStatus | None, as_of: datetime) -> int | None:
    """The rows of the watermark before; a repeat leaves them as they were."""
    if before is None:
        return None
    return before.previous_rows if before.watermark == as_of else before.rows


def _news(
    views: Sequence[SnapshotView], results: dict[str, ViewResult], status: dict[str, ViewStatus], as_of: datetime
) -> list[SnapshotView]:
    """The views of which Feast's registry should learn: it keeps every interval for ever, also of a repeat."""
    return [
        view
        for view in views
        if view.name not in status or status[view.name].watermark != as_of or results[view.name].changed
    ]


def _summary(as_of: datetime, results: dict[str, ViewResult], publication: Publication, seconds: float) -> str:
    rows = sum(result.rows for result in results.values())
    written = sum(result.written for result in results.values())
    removed = sum(result.removed for result in results.values())
    what = f"{written} written, {removed} removed" if written or removed else "nothing new"
    left_out = sum(result.left_out_rows for result in results.values())
    what += f", {left_out} rows left out for want of a key or time" if left_out else ""
    defaulted = sum(result.defaulted_elements for result in results.values())
    what += f", {defaulted} NULLs in lists replaced by defaults" if defaulted else ""
    plan = "" if publication is Publication.UNCHANGED else f", serving plan {publication}"
    return (
        f"done: as_of {isoformat(as_of)}, {rows} rows in {len(results)} feature views, {what}, verified{plan}, "
        f"{seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())

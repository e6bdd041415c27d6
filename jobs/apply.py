"""`python -m jobs.apply`: migrations, Feast's registry and the serving plan, from what the repository says."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import psycopg

from jobs import applied, logins, migrations, registry, resolved, roles
from jobs.definitions import Definitions
from jobs.errors import VerificationError
from jobs.findings import RefusedError
from jobs.flags import add_lock_wait, job_parser
from jobs.lock import writer_lock
from jobs.online import store as online_store
from jobs.online.serving_plan import Publication, build_plan, publish_plan
from jobs.online.status import read_status
from jobs.runner import Run, run_job
from jobs.settings import Settings, load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit code."""
    parser = job_parser(
        "apply",
        "Bring the database, Feast's registry and the serving plan to what the repository says. Repeating it changes\n"
        "nothing. A plan whose features are not filled yet waits for the next materialization. With the folder\n"
        "FEATURE_PLATFORM_LOGINS_DIR (files JOB/username, JOB/password) each of these logins is made to exist, with\n"
        "that password, as a member of its job's role.",
    )
    add_lock_wait(parser)
    return run_job("apply", parser, argv, _apply, prepare=migrations.migrate_ledger)


def _apply(arguments: argparse.Namespace, run: Run) -> str:
    settings = load_settings()
    wanted_logins = logins.load_logins()
    client = online_store.connect(settings)
    client.ping()
    repository = registry.Repository(settings)
    with writer_lock(arguments.lock_wait) as lock:
        with _findings_logged(run):
            migrated, rehearsed = _migrate_and_rehearse(repository, settings, run, wanted_logins)
        run.log("migrated", files=migrated)
        lock.check()
        definitions = repository.apply()
        if definitions != rehearsed:
            raise VerificationError("the registry does not hold what the repository defines; run apply again")
        roles.grant(run.connection)
        logins.check(run.connection, wanted_logins)
        plan = build_plan(definitions)
        lock.check()
        publication = publish_plan(client, settings.project, plan, read_status(client, settings.project))
        lock.check()
        resolved.note(run.connection, settings.project, definitions)
        applied.note(run.connection, settings.project, applied.fingerprint(settings.repo))
    run.details |= {"migrations": migrated, "plan": plan.version, "publication": publication}
    waits = " for a materialization that fills its new features" if publication is Publication.WAITING else ""
    return (
        f"done: {len(migrated)} migrations, {len(definitions.views) + len(definitions.on_demand_views)} feature views, "
        f"{len(definitions.services)} feature services; serving plan {plan.version[:12]} {publication}{waits}"
    )


def _migrate_and_rehearse(
    repository: registry.Repository, settings: Settings, run: Run, wanted_logins: Sequence[logins.Login]
) -> tuple[list[str], Definitions]:
    """The migrations that were applied now, and what the registry will hold.

    All in one transaction: a definition that is refused, also for a column of a new table, leaves no role and no table
    behind. Only where an enum's new value is used at once, which Postgres refuses, are the migrations committed first.
    """
    try:
        with run.connection.transaction():
            _ensure_roles(run, wanted_logins)
            migrated = migrations.migrate_repository(run.connection, settings.repo)
            return migrated, repository.rehearse(run.connection)
    except (migrations.NeedsCommitError, psycopg.errors.UnsafeNewEnumValueUsage):
        _ensure_roles(run, wanted_logins)
        migrated = migrations.migrate_repository(run.connection, settings.repo)
        _, definitions = _migrate_and_rehearse(repository, settings, run, wanted_logins)
        return migrated, definitions


@contextmanager
def _findings_logged(run: Run) -> Iterator[None]:
    """Within, a refusal leaves all its findings in the log and the ledger; the one line may have no room for them."""
    try:
        yield
    except RefusedError as error:
        findings = [asdict(finding) for finding in error.findings]
        run.details["findings"] = findings
        for finding in findings:
            run.log("refused", **finding)
        raise


def _ensure_roles(run: Run, wanted_logins: Sequence[logins.Login]) -> None:
    changes = logins.changes(run.connection, wanted_logins)
    roles.ensure_roles(run.connection, then=[change.command for change in changes])
    logins.make(run.connection, changes)
    run.details["logins"] = sorted({change.login.user for change in changes})
    run.log("logins", changed=run.details["logins"])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m jobs.apply`: migrations, Feast's registry and the serving plan, from what the repository says."""

import argparse
import sys
from collections.abc import Sequence

from jobs import migrations, registry, roles
from jobs.flags import add_lock_wait, job_parser
from jobs.lock import writer_lock
from jobs.online import store as online_store
from jobs.online.serving_plan import Publication, build_plan, publish_plan
from jobs.online.status import read_status
from jobs.runner import Run, run_job
from jobs.settings import load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit code."""
    parser = job_parser(
        "apply",
        "Bring the database, Feast's registry and the serving plan to what the repository says. Repeating it changes\n"
        "nothing. A plan whose features are not filled yet waits for the next materialization.",
    )
    add_lock_wait(parser)
    return run_job("apply", parser, argv, _apply, prepare=migrations.migrate_ledger)


def _apply(arguments: argparse.Namespace, run: Run) -> str:
    settings = load_settings()
    client = online_store.connect(settings)
    client.ping()
    with writer_lock(arguments.lock_wait) as lock:
        roles.ensure_roles(run.connection)
        applied = migrations.migrate_repository(run.connection, settings.repo)
        run.log("migrated", files=applied)
        definitions = registry.apply_repository(settings, before_change=lock.check)
        roles.grant(run.connection)
        plan = build_plan(definitions)
        lock.check()
        publication = publish_plan(client, settings.project, plan, read_status(client, settings.project))
    run.details |= {"migrations": applied, "plan": plan.version, "publication": publication}
    waits = " for a materialization that fills its new features" if publication is Publication.WAITING else ""
    return (
        f"done: {len(applied)} migrations, {len(definitions.views) + len(definitions.on_demand_views)} feature views, "
        f"{len(definitions.services)} feature services; serving plan {plan.version[:12]} {publication}{waits}"
    )


if __name__ == "__main__":
    sys.exit(main())

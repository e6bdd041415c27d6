"""A release filled with the sample's months, and what its offline store says that it has to serve."""

import time
from typing import Any

from tests.e2e.commands import WaitError
from tests.e2e.release import MODEST, Release, Values
from tests.offline import TABLES

GOLDEN = "7590-VHVEG"
STRANGER = "0000-NOBODY"
SAMPLE_SECONDS = 240.0
SERVED_SECONDS = 15.0
IN_A_ROW = 20
"""So many right answers come from every gateway: the ingress asks them in turn."""
TTL = "45 days"


def sample_values(months: int) -> dict[str, Any]:
    """Values of a release that fills itself; the sample's months are long ago, so ages count from the watermark."""
    return {"sampleData": {"enabled": True, "months": months}, "freshnessReference": "watermark"}


def install_with_sample(release: Release, months: int, *values: Values) -> None:
    """Install a modest release behind the ingress, wait until the months are ingested, and materialize the newest."""
    release.install(MODEST, release.ingress_values, sample_values(months), *values)
    wait_for_sample(release)
    materialize(release)
    wait_until_served(release)


def wait_for_sample(release: Release) -> str:
    """The last word of the Job that ingested the sample."""
    (job,) = release.namespace.of_component("Job", "sample-data")
    return release.namespace.job_succeeds(job["metadata"]["name"], SAMPLE_SECONDS)


def materialize(release: Release, job: str = "by-hand") -> str:
    """Run the materialization's CronJob now, as an operator does; the last word of the Job."""
    release.namespace.create_job_from_cronjob(f"{release.full}-materialization", job)
    return release.namespace.job_succeeds(job)


def wait_until_served(release: Release) -> None:
    """Wait until every gateway has noticed the first materialization, for which each looks every few seconds."""
    deadline, in_a_row, seen = time.monotonic() + SERVED_SECONDS, 0, ""
    with release.client() as client:
        while in_a_row < IN_A_ROW:
            if time.monotonic() > deadline:
                raise WaitError(f"waited {SERVED_SECONDS:g} s in vain: {GOLDEN} to be served; seen last: {seen}")
            answer = client.get(f"/features/{GOLDEN}")
            seen = f"{answer.status_code} {answer.text}"
            in_a_row = in_a_row + 1 if answer.status_code == 200 else 0
            time.sleep(0 if in_a_row else 0.2)


def features_in_postgres(release: Release, as_of: str) -> dict[str, dict[str, Any]]:
    """Per customer the 14 features that are to be shown at `as_of`, read from the tables without any code of ours.

    Of each (customer, as_of) the latest known row counts, or none if that is a tombstone; of these the newest, if it
    is not older than the ttl.
    """
    nothing: dict[str, Any] = dict.fromkeys(name for features in TABLES.values() for name in features)
    customers: dict[str, dict[str, Any]] = {}
    for table, features in TABLES.items():
        for row in release.sql(
            f"""SELECT DISTINCT ON (user_id) user_id, {", ".join(features)} FROM (
                    SELECT DISTINCT ON (user_id, as_of) * FROM offline.{table} ORDER BY user_id, as_of, created_at DESC
                ) AS known
                WHERE NOT tombstone AND as_of <= '{as_of}Z' AND as_of >= timestamptz '{as_of}Z' - interval '{TTL}'
                ORDER BY user_id, as_of DESC"""
        ):
            customers.setdefault(row.pop("user_id"), dict(nothing)).update(row)
    return customers

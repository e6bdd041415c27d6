"""`python -m jobs.local.by_hand`: run the materialization of a release in a cluster, for an instant of your choice.

It makes the Job that the release's CronJob would make, with other arguments, in the cluster that kubectl uses now, and
follows it. What comes out is the Job's own: its log on stderr, its summary on stdout, its exit code. Wrong usage, or
nothing to make the Job from, is exit 2, before anything is made.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from jobs.errors import EXIT_FAILED, JobError, UsageError
from jobs.instants import isoformat, parse_instant
from jobs.local.job_watch import follow

COMPONENT = "app.kubernetes.io/component=materialization"
PATIENCE_SECONDS = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one materialization by hand and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        job_arguments = _job_arguments(arguments)
        context = _connect()
        cron_job = _cron_job(arguments.namespace, arguments.release)
        job = _create_job(arguments.namespace, cron_job, job_arguments)
    except JobError as error:
        _say(str(error))
        return error.exit_code
    except (ApiException, HTTPError) as error:
        _say(_what_the_cluster_said(error))
        return EXIT_FAILED
    return _follow(arguments.namespace, job, f"{context}, namespace {arguments.namespace}: made job {job}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.local.by_hand",
        description="Run the materialization of a release in the cluster that kubectl uses now, and follow it.",
    )
    parser.add_argument("--as-of", default="", metavar="T", help="the instant to show")
    parser.add_argument("--rollback", action="store_true", help="allow a T that is earlier than the watermark")
    parser.add_argument("--namespace", required=True, help="where the chart is installed")
    parser.add_argument("--release", default="", help="whose materialization it is, where the namespace has several")
    return parser


def _job_arguments(arguments: argparse.Namespace) -> list[str]:
    if not arguments.as_of:
        raise UsageError("Which instant? Say for example: make materialize AS_OF=2024-03-31")
    as_of = isoformat(parse_instant(arguments.as_of))
    return [f"--as-of={as_of}", *(["--rollback"] if arguments.rollback else [])]


def _connect() -> str:
    """Use the cluster that kubectl uses now, and return the name of its context. Raises UsageError."""
    try:
        config.load_kube_config()
        _, current = config.list_kube_config_contexts()
    except config.ConfigException as error:
        raise UsageError(f"kubectl has no cluster to use: {error}") from error
    # One try: whoever waits at a terminal wants to know at once that nobody answers.
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    client.Configuration.set_default(settings)
    return str(current["name"])


def _cron_job(namespace: str, release: str) -> client.V1CronJob:
    selector = COMPONENT + (f",app.kubernetes.io/instance={release}" if release else "")
    found = client.BatchV1Api().list_namespaced_cron_job(
        namespace, label_selector=selector, _request_timeout=PATIENCE_SECONDS
    )
    if not found.items:
        raise UsageError(
            f"Namespace {namespace} has no CronJob labelled {selector}; NAMESPACE= says where the chart is installed, "
            "RELEASE= as what."
        )
    if len(found.items) > 1:
        names = ", ".join(str(item.metadata.name) for item in found.items if item.metadata)
        raise UsageError(f"Namespace {namespace} has {len(found.items)} materializations ({names}); name one: RELEASE=")
    return found.items[0]


def _create_job(namespace: str, cron_job: client.V1CronJob, arguments: list[str]) -> str:
    """Make the Job as `kubectl create job --from` does, with `arguments` after the template's command; its name."""
    assert cron_job.metadata is not None
    assert cron_job.spec is not None
    template = cron_job.spec.job_template
    assert template.spec is not None
    assert template.spec.template.spec is not None
    template.spec.template.spec.containers[0].args = arguments
    labels, annotations = (template.metadata.labels, template.metadata.annotations) if template.metadata else ({}, {})
    owner = client.V1OwnerReference(
        api_version="batch/v1", kind="CronJob", name=cron_job.metadata.name, uid=cron_job.metadata.uid, controller=True
    )
    metadata = client.V1ObjectMeta(
        generate_name=f"{cron_job.metadata.name}-by-hand-",
        labels=labels,
        annotations={**(annotations or {}), "cronjob.kubernetes.io/instantiate": "manual"},
        owner_references=[owner],
    )
    made = client.BatchV1Api().create_namespaced_job(
        namespace, client.V1Job(metadata=metadata, spec=template.spec), _request_timeout=PATIENCE_SECONDS
    )
    assert made.metadata is not None
    return str(made.metadata.name)


def _follow(namespace: str, job: str, beginning: str) -> int:
    try:
        _say(beginning)
        ended = follow(namespace, job, _say)
    except (ApiException, HTTPError) as error:
        reason = _what_the_cluster_said(error)
    except KeyboardInterrupt:
        reason = "Interrupted."
    else:
        print(ended.summary)
        return ended.exit_code
    _say(f"{reason} The job goes on: kubectl --namespace {namespace} logs --follow job/{job}")
    return EXIT_FAILED


def _what_the_cluster_said(error: ApiException | HTTPError) -> str:
    if isinstance(error, HTTPError):
        return f"The cluster does not answer: {error}"
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError):
        message = error.reason
    return f"The cluster refused ({error.status}): {message}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

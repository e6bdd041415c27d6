"""A materialization by hand, as `make materialize` runs it: the Job it makes, what it shows, and how it ends."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.namespace import Namespace, outcome, termination_message
from tests.e2e.objects import Object
from tests.e2e.release import MODEST, Release
from tests.e2e.sample_platform import sample_values, wait_for_sample

COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
JANUARY, FEBRUARY = "2024-01-31", "2024-02-29"


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    """Two months are in its offline store; its online store shows February."""
    release = Release(namespace)
    release.install(MODEST, sample_values(2), {"materialization": {"suspend": True}, "gateway": {"replicas": 1}})
    wait_for_sample(release)
    assert by_hand(release, "--as-of", FEBRUARY).returncode == 0
    return release


def test_it_ends_like_its_job_with_the_termination_message_as_its_only_output(release: Release) -> None:
    ended = by_hand(release, "--as-of", FEBRUARY)
    (pod,) = release.namespace.job_pods(made(ended))
    assert ended.returncode == 0
    assert re.fullmatch(r"materialize: done: as_of 2024-02-29T00:00:00Z, .* verified, .* s\n", ended.stdout)
    assert ended.stdout.strip() == termination_message(pod)


def test_the_log_of_the_job_comes_as_it_is(release: Release) -> None:
    ended = by_hand(release, "--as-of", FEBRUARY)
    (pod,) = release.namespace.job_pods(made(ended))
    log = release.namespace.logs(pod["metadata"]["name"]).splitlines()
    lines = [line for line in log if line.startswith("{")]
    assert "finished" in lines[-1]
    assert ended.stderr.splitlines()[-len(lines) :] == lines


def test_an_earlier_month_is_refused_with_the_jobs_own_exit_code_until_it_is_called_a_rollback(
    release: Release,
) -> None:
    refused = by_hand(release, "--as-of", JANUARY)
    assert refused.returncode == 2
    assert "go back with --rollback" in refused.stdout
    back = by_hand(release, "--as-of", JANUARY, "--rollback")
    assert (back.returncode, back.stdout.split(",")[0]) == (0, "materialize: done: as_of 2024-01-31T00:00:00Z")


def test_a_month_that_is_not_there_is_exit_3_after_one_try(release: Release) -> None:
    ended = by_hand(release, "--as-of", "2023-01-31", "--rollback")
    assert ended.returncode == 3
    assert "no row with as_of up to 2023-01-31" in ended.stdout
    assert len(release.namespace.job_pods(made(ended))) == 1


def test_the_job_is_what_kubectl_would_have_made_with_the_instant_after_its_command(release: Release) -> None:
    ended = by_hand(release, "--as-of", FEBRUARY)
    theirs = json.loads(
        release.namespace.kubectl(
            "create", "job", f"--from=cronjob/{release.full}-materialization", "theirs", "--dry-run=server", "-o=json"
        )
    )
    ours = release.namespace.objects.get("Job", made(ended))
    assert without_identity(ours, args=["--as-of=2024-02-29T00:00:00Z"]) == without_identity(theirs)


def test_without_the_charts_cronjob_nothing_is_made_and_one_sentence_says_where_to_look(release: Release) -> None:
    before = jobs(release)
    ended = by_hand(release, "--as-of", FEBRUARY, "--release", "other")
    (sentence,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert f"Namespace {release.namespace.name} has no CronJob labelled" in sentence
    assert f"{INSTANCE}=other" in sentence
    assert jobs(release) == before


def test_two_releases_in_a_namespace_have_to_be_told_apart(release: Release) -> None:
    before = jobs(release)
    add_cron_job(release, "another", {})
    ended = by_hand(release, "--as-of", FEBRUARY)
    release.namespace.objects.delete("CronJob", "another")
    (sentence,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert f"(another, {release.full}-materialization)" in sentence
    assert jobs(release) == before


def test_what_holds_the_job_up_is_shown_and_a_deadline_ends_it(release: Release) -> None:
    container = {"image": "feature-platform:nowhere", "imagePullPolicy": "Never"}
    add_cron_job(release, "stuck", container, activeDeadlineSeconds=20)
    ended = by_hand(release, "--as-of", FEBRUARY, "--release", "stuck")
    release.namespace.objects.delete("CronJob", "stuck")
    assert ended.returncode == 1
    assert "ErrImageNeverPull" in ended.stderr
    assert re.fullmatch(r"job stuck-by-hand-\w+ failed: DeadlineExceeded: .*\n", ended.stdout)


def test_ctrl_c_leaves_the_job_to_itself_and_says_how_to_follow_it(release: Release) -> None:
    child = subprocess.Popen(command(release, "--as-of", FEBRUARY), **options(release))
    assert child.stderr is not None
    first = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    job = re.findall(r"made job (\S+)", first)[0]
    assert child.returncode == 1
    assert said.splitlines()[-1].endswith(f"kubectl --namespace {release.namespace.name} logs --follow job/{job}")
    assert outcome(release.namespace.wait_for_job(job)) == "Complete"


def by_hand(release: Release, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One materialization by hand, followed to its end."""
    child = subprocess.Popen(command(release, *arguments), **options(release))
    output, errors = child.communicate(timeout=240)
    return subprocess.CompletedProcess(child.args, child.returncode, output, errors)


def command(release: Release, *arguments: str) -> list[str]:
    namespace = release.namespace.name
    return [sys.executable, "-m", "jobs.local.by_hand", "--namespace", namespace, *arguments]


def options(release: Release) -> dict[str, Any]:
    environment = release.namespace.cluster.environment
    return {
        "cwd": REPOSITORY, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        # A shell that starts something in the background leaves SIGINT ignored, to its children too.
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    }  # fmt: skip


def made(ended: subprocess.CompletedProcess[str]) -> str:
    """The Job that it says it has made."""
    (job,) = re.findall(r"made job (\S+)", ended.stderr)
    return str(job)


def jobs(release: Release) -> set[str]:
    return {job["metadata"]["name"] for job in release.namespace.objects.all("Job")}


def add_cron_job(release: Release, name: str, container: Mapping[str, str], **job: Any) -> None:
    """A CronJob like the release's, of a release called `name`, with other things in its container or its Job."""
    there = release.namespace.objects.get("CronJob", f"{release.full}-materialization")
    labels = {**there["metadata"]["labels"], INSTANCE: name}
    spec = there["spec"]
    spec["jobTemplate"]["spec"].update(job)
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    pod.pop("initContainers")
    pod["containers"][0].update(container)
    body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "labels": labels}, "spec": spec}
    release.namespace.objects.create(body)


def without_identity(job: Object, args: list[str] | None = None) -> Object:
    """What a Job is but for its name and what the cluster adds to tell it apart; `args` are taken off its container."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container.pop("args", None) == args
    metadata, template = job["metadata"], job["spec"]["template"]["metadata"]
    pod_labels = {key: value for key, value in template["labels"].items() if "job-name" not in key and "uid" not in key}
    spec = {key: value for key, value in job["spec"].items() if key not in ("selector", "template")}
    return {
        "metadata": {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences")},
        "spec": spec,
        "pod": {"labels": pod_labels, "spec": job["spec"]["template"]["spec"]},
    }

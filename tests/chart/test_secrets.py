"""Passwords and API keys are in Secrets, and nowhere else that Helm writes."""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.chart.branches import Branch, branch, branches, planted
from tests.chart.manifests import Manifest, leaves, name_of
from tests.chart.rendering import render

each_branch = pytest.mark.parametrize("branch", branches(), ids=lambda branch: branch.name)
CREDENTIALS = "kubernetes.io/basic-auth"
EXPORTERS = {"planted-postgres-exporter", "planted-redis-exporter"}


def secrets(objects: list[Manifest]) -> dict[str, dict[str, str]]:
    """What each Secret holds."""
    return {
        name_of(manifest): {key: base64.b64decode(value).decode() for key, value in manifest["data"].items()}
        for manifest in objects
        if manifest["kind"] == "Secret"
    }


def outside_secrets(objects: list[Manifest]) -> str:
    return json.dumps([manifest for manifest in objects if manifest["kind"] != "Secret"])


def shapes(password: str) -> list[str]:
    """A password as it is, encoded, and as a hash from which a short one can be guessed."""
    raw = password.encode()
    return [password, base64.b64encode(raw).decode(), hashlib.sha256(raw).hexdigest()]


def passwords(values: Any) -> list[str]:
    return [str(value) for path, value in leaves(values) if path.endswith(".password")]


@each_branch
def test_given_passwords_are_in_no_other_object_and_in_no_notes(branch: Branch) -> None:
    written = outside_secrets(branch.render().objects) + branch.notes()
    for password in passwords(planted(branch.files)):
        assert [shape for shape in shapes(password) if shape in written] == []


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("defaults", EXPORTERS),
        ("sentinel", EXPORTERS),
        ("external-stores-tls", {"planted-postgres-superuser", *EXPORTERS}),
        ("prometheus-operator", set()),
    ],
)
def test_a_given_password_is_in_its_own_secret_if_somebody_uses_it(name: str, unused: set[str]) -> None:
    held = [holds["password"] for holds in secrets(branch(name).render().objects).values() if "password" in holds]
    assert sorted(held) == sorted(set(passwords(planted(branch(name).files))) - unused)


def test_passwords_that_the_chart_makes_are_long_distinct_and_nowhere_else() -> None:
    objects = render().objects
    made = [holds["password"] for holds in secrets(objects).values()]
    assert len(made) == len(set(made)) == 9
    assert min(len(password) for password in made) >= 32
    assert [password for password in made if any(shape in outside_secrets(objects) for shape in shapes(password))] == []


def test_with_secrets_of_ones_own_nothing_secret_is_written() -> None:
    assert secrets(branch("existing-secrets").render().objects) == {}


def test_hashes_of_api_keys_are_in_a_secret_alone() -> None:
    keyed = branch("api-keys")
    objects, hashes = keyed.render().objects, keyed.value("gateway.apiKeys.hashes")
    assert secrets(objects)["Secret streamflow-feature-platform-gateway-api-keys"] == {"hashes": ",".join(hashes)}
    assert [one for one in hashes if one in outside_secrets(objects) + keyed.notes()] == []


@each_branch
def test_credentials_have_kubernetes_own_form_and_outlive_the_release(branch: Branch) -> None:
    for secret in branch.render().of_kind("Secret"):
        if "gateway-api-keys" not in secret["metadata"]["name"]:
            assert (secret["type"], secret["data"].keys()) == (CREDENTIALS, {"username", "password"})
            assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"

"""What the cluster's tests keep of a failure holds no secret, and they run only when they are asked for."""

import base64
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.diagnostics import redacted, secret_values

PASSWORD = "q8Zk2mT4vX"


def secret(kind: str = "kubernetes.io/basic-auth", **values: str) -> dict[str, object]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": "a"}, "type": kind, "data": data}


def test_a_password_is_not_told_in_either_form() -> None:
    found = secret_values([secret(username="owner", password=PASSWORD)])
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    assert redacted(f"owner:{PASSWORD} {encoded}", found) == "owner:[secret] [secret]"


def test_a_password_that_holds_another_one_goes_as_a_whole() -> None:
    found = secret_values([secret(password=PASSWORD), secret(password=f"{PASSWORD}-longer")])
    assert redacted(f"{PASSWORD}-longer", found) == "[secret]"


def test_user_names_short_values_and_helms_own_records_are_told() -> None:
    found = secret_values(
        [secret(username="feature-server", key="yes"), secret("helm.sh/release.v1", release="values")]
    )
    assert redacted("feature-server says yes to values", found) == "feature-server says yes to values"


@pytest.mark.parametrize(("asked", "collected"), [("tests", False), ("tests/e2e", True)])
def test_the_clusters_tests_are_collected_only_when_asked_for(asked: str, collected: bool) -> None:
    others = [f"--ignore={folder}" for folder in (REPOSITORY / "tests").iterdir() if folder.name != "e2e"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", asked, *others]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    assert ("tests/e2e/test_smoke.py" in said) == collected, said

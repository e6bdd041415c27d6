"""One version, wherever it is said."""

import tomllib

import api
import jobs
from tests.conftest import REPOSITORY


def test_jobs_and_gateway_say_the_version_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert jobs.VERSION == api.VERSION == project["version"]

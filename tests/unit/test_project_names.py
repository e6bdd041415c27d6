"""A project's name is refused by jobs, gateway and chart where Feast refuses it, and nowhere else."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from feast.repo_config import RepoConfig
from pydantic import ValidationError

from api import settings as gateway_settings
from jobs import settings as jobs_settings

SCHEMA = Path(__file__).parents[2] / "charts" / "feature-platform" / "values.schema.yaml"
LETTERS = "aZ0_-. /@:é漢²\u0301\n\0"
NAMES = ["".join(letters) for length in (1, 2, 3) for letters in itertools.product(LETTERS, repeat=length)]
SIDES = {"jobs": jobs_settings.PROJECT_NAME, "the gateway": gateway_settings.PROJECT_NAME}


def feast_takes(name: str) -> bool:
    try:
        RepoConfig(
            project=name, provider="local", registry="unused.db", online_store=RedisOnlineStoreConfig(),
            entity_key_serialization_version=3,
        )  # fmt: skip
    except ValidationError:
        return False
    return True


@pytest.fixture(scope="module")
def taken() -> set[str]:
    """The names that Feast takes, of all short ones."""
    return {name for name in NAMES if feast_takes(name)}


@pytest.mark.parametrize("side", SIDES)
def test_the_settings_take_the_names_that_feast_takes(side: str, taken: set[str]) -> None:
    assert {name for name in NAMES if SIDES[side].fullmatch(name)} == taken
    assert not SIDES[side].fullmatch("")


def test_the_chart_takes_those_of_ascii_letters(taken: set[str]) -> None:
    pattern = yaml.safe_load(SCHEMA.read_text())["properties"]["project"]["pattern"]
    one_line = {
        name for name in NAMES if "\n" not in name
    }  # Python's $ stands before a line's end too, Helm's does not
    assert {name for name in one_line if re.search(pattern, name)} == {name for name in taken if name.isascii()}

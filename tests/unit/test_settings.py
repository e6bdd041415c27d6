"""Settings of the jobs: what is missing or wrong is named, what is secret is never said."""

from pathlib import Path

import pytest

from jobs.errors import UsageError
from jobs.settings import PREFIX, Settings, load_settings

SECRET = "correct-horse-battery-staple"
REDIS = f"redis:6379,password={SECRET}"


@pytest.fixture(autouse=True)
def required(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that is needed; `repository` names the shipped one and its project."""
    for name in Settings.model_fields:
        if name not in ("repo", "project"):
            monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    monkeypatch.delenv(f"{PREFIX}SECRETS_DIR", raising=False)
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", REDIS)


@pytest.mark.parametrize("name", ["PROJECT", "REDIS_CONNECTION_STRING"])
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(f"{PREFIX}{name}")
    assert refusal() == f"settings: {PREFIX}{name}: Field required"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PROJECT", "", "PROJECT: String should match pattern"),
        ("PROJECT", "two words", "PROJECT: String should match pattern"),
        ("PROJECT", "_hidden", "PROJECT: String should match pattern"),
        ("REDIS_CONNECTION_STRING", "", "REDIS_CONNECTION_STRING: String should have at least 1 character"),
        ("REDIS_TYPE", "memcached", "REDIS_TYPE: Input should be 'redis', 'redis_sentinel' or 'redis_cluster'"),
        ("REPO", "/nowhere", "REPO is /nowhere, which holds no feature_store.yaml"),
        ("SECRETS_DIR", "/nowhere", "SECRETS_DIR is /nowhere, which is not a folder"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    assert f"{PREFIX}{sentence}" in refusal()


def test_all_that_is_wrong_is_named_at_once_and_the_password_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"{PREFIX}PROJECT")
    monkeypatch.setenv(f"{PREFIX}REDIS_TYPE", SECRET)
    sentence = refusal()
    assert f"{PREFIX}PROJECT" in sentence
    assert f"{PREFIX}REDIS_TYPE" in sentence
    assert SECRET not in sentence


def test_a_file_of_the_secrets_folder_is_named_like_the_lower_case_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(f"{PREFIX}REDIS_CONNECTION_STRING")
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_connection_string").write_text(f"{REDIS}\n")
    assert load_settings().redis_connection_string == REDIS


def test_a_wrong_secret_file_is_named_as_its_variable_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_type").write_text(SECRET)
    assert f"{PREFIX}REDIS_TYPE: Input should be" in refusal()


def test_the_environment_wins_over_a_secret_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_connection_string").write_text("elsewhere:6379")
    assert load_settings().redis_connection_string == REDIS


def test_defaults_are_a_plain_redis_and_the_sentinel_name_mymaster() -> None:
    settings = load_settings()
    assert (settings.redis_type, settings.redis_sentinel_master) == ("redis", "mymaster")
    assert Settings.model_fields["repo"].default == Path("feature_repo")


def refusal() -> str:
    """The sentence that refuses the settings; it never holds a secret."""
    with pytest.raises(UsageError) as refused:
        load_settings()
    assert SECRET not in str(refused.value)
    return str(refused.value)

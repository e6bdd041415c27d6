"""Settings of the jobs: what is missing or wrong is named, what is secret is never said."""

import os
from pathlib import Path

import pytest

from jobs import postgres
from jobs.errors import UsageError
from jobs.feast_store import export_to_feast
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
        ("PROJECT", "", "PROJECT: a Feast project's name is made of letters, digits and underscores"),
        ("PROJECT", "two words", "PROJECT: a Feast project's name is made of letters, digits and underscores"),
        ("PROJECT", "_hidden", "PROJECT: a Feast project's name is made of letters, digits and underscores"),
        (
            "PROJECT",
            "with-hyphen",
            "PROJECT: a Feast project's name is made of letters, digits and underscores, "
            "with a letter or digit first; Feast takes no hyphen",
        ),
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


# --- user name and password of Redis as settings of their own

AWKWARD = ["0123", "42", "true", "null", "a,b", 'a"b', '"', "a\\b", "\\u002c", "a: b", "a #b", "$HOME", "${HOME}",
           "a=b", "{x}", "[", "'", "%2C", "two words", " edges ", "&x", "*x", "é€😀", "a\tb\nc"]  # fmt: skip


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection string without credentials."""
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", "redis:6379,socket_timeout=0.25")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("text", AWKWARD)
def test_feast_reads_every_user_name_and_password_as_it_is(
    monkeypatch: pytest.MonkeyPatch, repository: Path, text: str
) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore
    from feast.repo_config import load_repo_config

    monkeypatch.setenv(f"{PREFIX}REDIS_USERNAME", text)
    monkeypatch.setenv(f"{PREFIX}REDIS_PASSWORD", f"{text}{text}")
    export_to_feast(load_settings())
    config = load_repo_config(repository, repository / "feature_store.yaml")
    nodes, options = RedisOnlineStore._parse_connection_string(config.online_store.connection_string)
    assert nodes == [{"host": "redis", "port": "6379"}]
    assert options == {"socket_timeout": 0.25, "username": text, "password": f"{text}{text}"}


@pytest.mark.usefixtures("bare")
def test_user_name_and_password_may_be_files_whose_last_line_end_is_not_part_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_username").write_text("jobs\n")
    (tmp_path / "feature_platform_redis_password").write_text("123\n")
    assert load_settings().redis_address == 'redis:6379,socket_timeout=0.25,username="jobs",password="123"'


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["USERNAME", "PASSWORD"])
def test_an_empty_user_name_or_password_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS_{name}", "")
    assert load_settings().redis_address == "redis:6379,socket_timeout=0.25"


@pytest.mark.parametrize("name", ["username", "password"])
def test_the_string_and_a_setting_that_differ_are_refused_without_showing_either(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", f"redis:6379,{name}={SECRET}")
    monkeypatch.setenv(f"{PREFIX}REDIS_{name.upper()}", "another-secret")
    sentence = refusal()
    assert sentence.endswith(
        f"{PREFIX}REDIS_{name.upper()} and the {name} in {PREFIX}REDIS_CONNECTION_STRING differ; give one of the two"
    )
    assert "another-secret" not in sentence


@pytest.mark.usefixtures("bare")
def test_what_was_put_into_the_string_for_feast_is_no_contradiction_when_it_is_loaded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS_PASSWORD", "0,1")
    settings = load_settings()
    export_to_feast(settings)
    assert load_settings().redis_address == settings.redis_address


def test_no_secret_is_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS_PASSWORD", SECRET)
    assert SECRET not in repr(load_settings())


# --- user name and password of Postgres as files


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A secrets folder with both files, laid out as Kubernetes does; libpq's variables are not set."""
    for variable in postgres.CREDENTIAL_FILES:
        monkeypatch.setenv(variable, "")  # so that it is restored
        monkeypatch.delenv(variable)
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..data").symlink_to("..2024")
    for name, text in (("pguser", "loader\n"), ("pgpassword", f" {SECRET} \r\n")):
        (tmp_path / "..2024" / name).write_text(text, newline="")
        (tmp_path / name).symlink_to(f"..data/{name}")
    return tmp_path


@pytest.mark.usefixtures("mounted")
def test_the_files_pguser_and_pgpassword_become_libpqs_variables_without_their_line_end() -> None:
    postgres.export_credentials()
    assert (os.environ["PGUSER"], os.environ["PGPASSWORD"]) == ("loader", f" {SECRET} ")
    postgres.export_credentials()


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize(("variable", "file"), postgres.CREDENTIAL_FILES.items())
def test_a_variable_that_says_otherwise_is_refused_without_showing_either(
    monkeypatch: pytest.MonkeyPatch, variable: str, file: str
) -> None:
    monkeypatch.setenv(variable, "another-secret")
    with pytest.raises(UsageError) as refused:
        postgres.export_credentials()
    assert str(refused.value) == f"{variable} and the file {file} of {PREFIX}SECRETS_DIR differ; give one of the two"


def test_a_file_that_is_empty_or_absent_leaves_the_variable_alone(
    monkeypatch: pytest.MonkeyPatch, mounted: Path
) -> None:
    (mounted / "pguser").unlink()
    (mounted / "..2024" / "pgpassword").write_text("\n")
    monkeypatch.setenv("PGUSER", "somebody")
    monkeypatch.setenv("PGPASSWORD", "x")
    postgres.export_credentials()
    assert (os.environ["PGUSER"], os.environ["PGPASSWORD"]) == ("somebody", "x")


@pytest.mark.parametrize(("contents", "reason"), [(b"\xff", "is not UTF-8"), (b"a\0b", "zero byte")])
def test_a_file_that_is_no_text_is_named(mounted: Path, contents: bytes, reason: str) -> None:
    (mounted / "..2024" / "pgpassword").write_bytes(contents)
    with pytest.raises(UsageError, match=f"{mounted}/pgpassword .*{reason}"):
        postgres.export_credentials()


def refusal() -> str:
    """The sentence that refuses the settings; it never holds a secret."""
    with pytest.raises(UsageError) as refused:
        load_settings()
    assert SECRET not in str(refused.value)
    return str(refused.value)

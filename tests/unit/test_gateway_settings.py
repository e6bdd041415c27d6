"""Settings: what is taken, from where, and what is refused by one sentence."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from api import redis_address
from api.settings import PREFIX, SettingsError, load

HASH = hashlib.sha256(b"secret").hexdigest()


@pytest.fixture(autouse=True)
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PROJECT", "streamflow")
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", "localhost:6379")


def test_defaults_need_only_a_project_and_a_redis() -> None:
    settings = load()
    assert (settings.gateway_host, settings.gateway_port, settings.gateway_metrics_port) == ("127.0.0.1", 8000, 9090)
    assert (settings.freshness_reference, settings.redis_type, settings.api_key_hashes) == ("now", "redis", ())
    assert settings.feature_server_url is None


@pytest.mark.parametrize("name", ["PROJECT", "REDIS_CONNECTION_STRING"])
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(f"{PREFIX}{name}")
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name} is not set; it must be "):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROJECT", ""),
        ("PROJECT", "with-hyphen"),
        ("REDIS_CONNECTION_STRING", ""),
        ("REDIS_TYPE", "memcached"),
        ("REDIS_SENTINEL_MASTER", ""),
        ("GATEWAY_HOST", ""),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", "eight"),
        ("GATEWAY_METRICS_PORT", "-1"),
        ("FEATURE_SERVER_URL", "features:6566"),
        ("FEATURE_SERVER_URL", ""),
        ("GATEWAY_REQUEST_LOG", "everything"),
        ("GATEWAY_SLOW_REQUEST_SECONDS", "-0.1"),
        ("GATEWAY_SLOW_REQUEST_SECONDS", "inf"),
        ("FRESHNESS_REFERENCE", "yesterday"),
        ("API_KEY_HASHES", ""),
        ("API_KEY_HASHES", "secret"),
        ("API_KEY_HASHES", f"{HASH},"),
        ("SECRETS_DIR", "/nowhere"),
    ],
)
def test_a_wrong_setting_is_refused_by_one_sentence_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name} must be [^\n]*\\.$") as refused:
        load()
    assert not value or value not in str(refused.value).replace(name, "")


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}GATEWAY_PORT", "x")
    monkeypatch.setenv(f"{PREFIX}REDIS_TYPE", "x")
    with pytest.raises(SettingsError) as refused:
        load()
    assert len(str(refused.value).splitlines()) == 2


def test_key_hashes_and_the_redis_address_may_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(f"{PREFIX}REDIS_CONNECTION_STRING")
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_connection_string").write_text("redis:6379,password=x\n")
    (tmp_path / "feature_platform_api_key_hashes").write_text(f"{HASH.upper()}\n{'0' * 64}\n")
    settings = load()
    assert settings.redis_connection_string == "redis:6379,password=x"
    assert settings.api_key_hashes == (HASH, "0" * 64)


def test_secrets_are_not_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}REDIS_CONNECTION_STRING", "redis:6379,password=hidden")
    monkeypatch.setenv(f"{PREFIX}API_KEY_HASHES", HASH)
    assert "hidden" not in repr(load())
    assert HASH not in repr(load())


@pytest.mark.parametrize(
    ("text", "nodes", "options"),
    [
        ("redis:6379", [("redis", 6379)], {}),
        ("a:1,b:2,db=3", [("a", 1), ("b", 2)], {"db": 3}),
        ("r:1,username=u,password=0123,ssl=true", [("r", 1)], {"username": "u", "password": "0123", "ssl": True}),
        ('r:1,password="a=b"', [("r", 1)], {"password": "a=b"}),
        ("r:1,socket_timeout=0.25,socket_connect_timeout=0.25,retry=null", [("r", 1)], {}),
    ],
)
def test_feasts_connection_string_is_understood(
    text: str, nodes: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    address = redis_address.parse(text)
    assert (list(address.nodes), address.options) == (nodes, options)


@pytest.mark.parametrize(
    "text", ["", "redis", "redis:port", "redis:0", ":6379", "db=0", "r:1,db=x", "r:1,ssl=yes", "r:1,paswsord=hidden"]
)
def test_another_connection_string_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}REDIS_CONNECTION_STRING") as refused:
        redis_address.parse(text)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("text", ["0123", "a,b", 'a"b', "\\", " edges "])
def test_user_name_and_password_beside_the_string_are_taken_as_they_are(text: str) -> None:
    address = redis_address.parse("r:1,db=3", username=text, password=f"{text}{text}")
    assert address.options == {"db": 3, "username": text, "password": f"{text}{text}"}


def test_a_user_name_or_password_that_is_empty_is_none() -> None:
    assert redis_address.parse("r:1,password=x", username="", password="").options == {"password": "x"}


@pytest.mark.parametrize("name", ["username", "password"])
def test_the_string_and_a_setting_that_differ_are_refused_without_showing_either(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        redis_address.parse(f"r:1,{name}=hidden", **{name: "covered"})
    assert str(refused.value) == (
        f"{PREFIX}REDIS_{name.upper()} and the {name} in {PREFIX}REDIS_CONNECTION_STRING differ; give one of the two."
    )


def test_user_name_and_password_of_redis_may_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"{PREFIX}SECRETS_DIR", str(tmp_path))
    (tmp_path / "feature_platform_redis_username").write_text("gateway\n")
    (tmp_path / "feature_platform_redis_password").write_text("0123\n")
    settings = load()
    assert (settings.redis_username, settings.redis_password) == ("gateway", "0123")
    assert "0123" not in repr(settings)

"""Redis' connection string is read by the same rules in the gateway and in the jobs, or refused by one sentence."""

from collections.abc import Callable
from typing import Any

import pytest

import api.redis_address
import jobs.redis_address
from api.settings import SettingsError
from jobs.errors import UsageError
from jobs.online import store

SETTING = "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"
Parse = Callable[[str], Any]


@pytest.fixture(params=[api.redis_address.parse, jobs.redis_address.parse], ids=["gateway", "jobs"])
def parse(request: pytest.FixtureRequest) -> Parse:
    parse: Parse = request.param
    return parse


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("[::1]:6379", [("::1", 6379)]),
        ("[fd00::a:1]:1,db=3", [("fd00::a:1", 1)]),
        ("[fe80::1%eth0]:1", [("fe80::1%eth0", 1)]),
        ("[::ffff:10.0.0.1]:1,[::2]:2,redis.example:3,ssl=true", [("::ffff:10.0.0.1", 1), ("::2", 2),
                                                                 ("redis.example", 3)]),
        ("10.0.0.1:65535, my_redis-0:2", [("10.0.0.1", 65535), ("my_redis-0", 2)]),
        ("redis:1,password=x\n", [("redis", 1)]),
    ],
)  # fmt: skip
def test_every_kind_of_address_is_understood(parse: Parse, text: str, nodes: list[tuple[str, int]]) -> None:
    assert list(parse(text).nodes) == nodes


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "redis", ":1", "::1:6379", "::1", "[::1]", "[::1]6379", "[]:1", "[redis]:1", "[::1:1", "::1]:1",
        "[::x]:1", "[[::1]]:1", "redis:0", "redis:65536", "redis:99999999999", "redis:-1", "redis:1.0", "redis:1:2",
        "redis:\u0661", "hidden@redis:1", "redis://redis:1", "user:hidden@redis:1", "my redis:1", "redis:1,",
        "redis:1,hidden", "redis:1,password=a,hidden", "ssl=true",
    ],
)  # fmt: skip
def test_an_address_that_names_no_server_is_refused_with_what_is_right(parse: Parse, text: str) -> None:
    with pytest.raises((SettingsError, UsageError)) as refused:
        parse(text)
    sentence = str(refused.value)
    assert sentence.startswith(f"{SETTING} must ")
    assert "[::1]:6379" in sentence
    assert "hidden" not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("paswsord=hidden", "holds an unknown option; the known ones are client_name, db, "),
        ("=hidden", "holds an unknown option"),
        ("password=a,hidden=b", "holds an unknown option"),
        ("password=hidden,password=hidden", "gives password more than once"),
        ("db=hidden", ": db must be a whole number"),
        ("db=-1", ": db must be a whole number"),
        ("db=null", ": db must be a whole number"),
        ("ssl=hidden", ": ssl must be true or false"),
        ("ssl=True", ": ssl must be true or false"),
        ("sentinel_ssl=1", ": sentinel_ssl must be true or false"),
        ("ssl_cert_reqs=hidden", ": ssl_cert_reqs must be one of none, optional, required"),
        ("sentinel_username=hidden", "gives sentinel_username without sentinel_password; give both"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused_without_its_value(
    parse: Parse, option: str, sentence: str
) -> None:
    with pytest.raises((SettingsError, UsageError)) as refused:
        parse(f"redis:1,{option}")
    assert str(refused.value).startswith(f"{SETTING}{'' if sentence.startswith(':') else ' '}{sentence}")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("socket_timeout=hidden", "socket_timeout must be a number"),
        ("socket_connect_timeout=-1", "socket_connect_timeout must be a number"),
        ("socket_timeout=nan", "socket_timeout must be a number"),
        ("max_connections=1.5", "max_connections must be a whole number"),
        ("retry=3", "retry must be null, which means never"),
    ],
)
def test_the_jobs_refuse_what_they_cannot_honour_of_what_the_gateway_overrules(option: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        jobs.redis_address.parse(f"redis:1,{option}")
    assert str(refused.value) == f"{SETTING}: {sentence}"


NAMES = ["username", "password", "client_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("written", "text"),
    [
        *((text, text) for text in ("123", "007", "1e5", "true", "null", "-0.0", "NaN", "[1]", '{"a":1}', "a=b")),
        (" x ", " x "),
        ('"', '"'), ('"a', '"a'), ('"a"b"', '"a"b"'), (r'"\x"', r'"\x"'), ("'a'", "'a'"),
        ('"123"', "123"), (r'"a\u002cb"', "a,b"), (r'"\"a\""', '"a"'),
    ],
)  # fmt: skip
def test_a_text_is_taken_as_it_is_or_as_the_json_text_that_it_is(
    parse: Parse, name: str, written: str, text: str
) -> None:
    assert parse(f"redis:1,{name}={written}").options == {name: text}


def test_an_empty_option_is_none(parse: Parse) -> None:
    assert parse("redis:1,username=,password=").options == {}


def test_what_feasts_clients_need_is_read_by_the_jobs_with_its_type() -> None:
    text = "r:1,socket_timeout=0.25,socket_connect_timeout=1,retry=null,max_connections=3,socket_keepalive=true"
    assert jobs.redis_address.parse(f"{text},skip_full_coverage_check=true,retry_on_timeout=true").options == {
        "socket_timeout": 0.25, "socket_connect_timeout": 1.0, "retry": None, "max_connections": 3,
        "socket_keepalive": True,
    }  # fmt: skip


def _gateways(text: str) -> list[dict[str, Any]]:
    return api.redis_address.sentinel_options(api.redis_address.parse(text))


def _jobs(text: str) -> list[dict[str, Any]]:
    address = jobs.redis_address.parse(text)
    return store.sentinel_options(address, address.options)


NONE: dict[str, str] = {}
SERVERS = {"username": "u", "password": "p"}


@pytest.mark.parametrize("options", [_gateways, _jobs], ids=["gateway", "jobs"])
@pytest.mark.parametrize(
    ("text", "logins"),
    [
        ("", [NONE]),
        (",username=u,password=p", [SERVERS, NONE]),
        (",username=u,password=p,sentinel_password=1", [{"password": "1"}]),
        (",username=u,password=p,sentinel_username=s,sentinel_password=1", [{"username": "s", "password": "1"}]),
        (",username=u,password=p,sentinel_password=", [NONE]),
        (",sentinel_password=1", [{"password": "1"}]),
    ],
)
def test_sentinels_get_the_servers_login_or_none_unless_they_have_their_own(
    options: Callable[[str], list[dict[str, Any]]], text: str, logins: list[dict[str, str]]
) -> None:
    found = options(f"sentinel:1,db=3,client_name=c{text}")
    assert [{name: value for name, value in one.items() if name in SERVERS} for one in found] == logins
    assert not any("db" in one or "client_name" in one for one in found)


@pytest.mark.parametrize("options", [_gateways, _jobs], ids=["gateway", "jobs"])
@pytest.mark.parametrize(
    ("text", "encrypted"),
    [("", False), (",ssl=true", True), (",ssl=true,sentinel_ssl=false", False), (",sentinel_ssl=true", True)],
)
def test_sentinels_are_asked_over_tls_where_the_servers_are_unless_the_string_says_otherwise(
    options: Callable[[str], list[dict[str, Any]]], text: str, encrypted: bool
) -> None:
    (found,) = options(f"sentinel:1,ssl_ca_certs=/ca{text}")
    assert (found["ssl"], found["ssl_ca_certs"]) == (encrypted, "/ca")


@pytest.mark.parametrize("text", ["123", "1e5", "true", "null", '"a"', "a"])
def test_stock_feast_reads_every_text_of_what_it_is_given_as_it_is(text: str) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    written = jobs.redis_address.with_options(f"r:1,password={text},db=3,socket_timeout=1", {"username": text})
    _, options = RedisOnlineStore._parse_connection_string(written)
    taken = text.strip('"')
    assert options == {"password": taken, "username": text, "db": 3, "socket_timeout": 1}

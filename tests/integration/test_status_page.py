"""The status page as it is served: its switch, its headers, and that it holds nothing; `make test-page` looks at it."""

import base64
import hashlib
import re
from pathlib import Path

import httpx
import pytest
import redis

from api.settings import SettingsError, load
from tests import gateway_support as support
from tests.gateway_support import refused

SWITCH = "FEATURE_PLATFORM_GATEWAY_STATUS_PAGE"


def sources(response: httpx.Response) -> dict[str, list[str]]:
    """The directives of the Content-Security-Policy."""
    directives = (part.split() for part in response.headers["content-security-policy"].split("; "))
    return {name: values for name, *values in directives}


def named(element: str, html: str) -> str:
    """How a policy names the one inline element of this name."""
    [text] = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_switched_off_there_is_nothing_at_its_path(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", **{SWITCH: "false"}) as gateway:
        gateway.wait_ready()
        refused(gateway.http.get("/"), 404, "nothing at this path")
        assert gateway.http.get("/features/u1").status_code == 200


def test_switched_off_it_is_refused_like_any_path_where_keys_are_set(redis_client: redis.Redis) -> None:
    support.seed(redis_client)
    with support.in_process(gateway_status_page=False, api_key_hashes=("0" * 64,)) as http:
        refused(http.get("/"), 401)


def test_a_switch_that_is_neither_on_nor_off_ends_the_start(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "maybe")
    with pytest.raises(SettingsError, match=f"^{SWITCH} must be true [^\n]*\\.$"):
        load()


def test_it_is_one_document_that_is_looked_at_again_each_time(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        page, head = gateway.http.get("/"), gateway.http.head("/")
        refused(gateway.http.post("/"), 405, "POST")
    assert page.status_code == head.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert head.headers["content-length"] == str(len(page.content))
    assert head.content == b""
    assert len(page.content) < 50_000


def test_its_policy_allows_its_own_script_and_style_and_calls_of_the_gateway_alone(redis_client: redis.Redis) -> None:
    with support.in_process(wait=False) as http:
        page = http.get("/")
    found = sources(page)
    assert found["default-src"] == ["'none'"]
    assert found["script-src"] == [named("script", page.text)]
    assert found["style-src"] == [named("style", page.text)]
    assert found["connect-src"] == ["'self'"]
    assert found["frame-ancestors"] == found["form-action"] == found["base-uri"] == ["'none'"]
    assert found["require-trusted-types-for"] == ["'script'"]
    assert found.keys() == {
        "default-src", "script-src", "style-src", "connect-src", "img-src", "base-uri", "form-action",
        "frame-ancestors", "require-trusted-types-for", "trusted-types",
    }  # fmt: skip


def test_it_names_no_other_place_and_no_handler_stands_in_its_markup(redis_client: redis.Redis) -> None:
    with support.in_process(wait=False) as http:
        text = http.get("/").text
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert re.findall(r"https?://[^\s'\"]+", text) == ["http://www.w3.org/2000/svg"], "a namespace"
    assert not re.search(r"\s(on\w+|style|src)=", markup)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)


def test_it_is_the_same_for_everybody_with_and_without_a_key_plan_or_store(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    away = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": "127.0.0.1:1"}
    with support.gateway_process(tmp_path / "away", **away) as gateway:
        without_store = gateway.http.get("/")
    support.seed(redis_client)
    with support.in_process(api_key_hashes=(hashlib.sha256(b"key").hexdigest(),)) as http:
        without_key = http.get("/")
        with_key = http.get("/", headers={"Authorization": "Bearer key"})
        refused(http.get("/status"), 401)
        refused(http.get("/x"), 401)
    assert without_store.status_code == without_key.status_code == with_key.status_code == 200
    assert without_store.content == without_key.content == with_key.content
    for word in ("user_id", "u1", "profile", "watch_hours", support.PROJECT):
        assert word not in with_key.text


def test_it_is_counted_under_its_own_route(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        gateway.http.get("/")
        text = httpx.get(f"{gateway.metrics_url}/metrics").text
    assert 'feature_gateway_http_requests_total{code="200",method="GET",route="/"} 1.0' in text


def test_status_tells_of_the_reads_of_this_process_in_its_last_minute(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        before = gateway.http.get("/status").json()["recent_traffic"]
        for _ in range(6):
            gateway.http.get("/features/u1")
        gateway.http.get("/features/nobody")
        gateway.http.post("/features", json={"entities": {"user_id": ["u1"]}})
        gateway.http.get("/features/u1?feature_service=computed")  # 503: there is no feature server
        gateway.http.post("/get-online-features", content=b"{")  # 422
        told = gateway.http.get("/status").json()["recent_traffic"]
    assert (before["requests"], before["failed_share"], before["p50_ms"], before["p99_ms"]) == (0, None, None, None)
    assert (told["requests"], told["failed_share"]) == (10, 0.1)
    assert told["requests_per_second"] == pytest.approx(10 / told["seconds"], rel=0.01)
    assert 0 < told["p50_ms"] <= told["p99_ms"] <= 2_500

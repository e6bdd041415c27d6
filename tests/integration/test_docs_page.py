"""The page at /docs as it is served: open, without data, out of this process alone; `make test-page` looks at it."""

import hashlib
import re
from pathlib import Path

import pytest
import redis

from tests import gateway_support as support
from tests.gateway_support import GatewayProcess, refused
from tests.integration.test_status_page import named, sources

FILES = {"/docs/swagger-ui-bundle.js": "text/javascript", "/docs/swagger-ui.css": "text/css"}


def test_its_policy_allows_its_own_scripts_and_styles_and_calls_of_the_gateway_alone(redis_client: redis.Redis) -> None:
    with support.in_process(wait=False) as http:
        page = http.get("/docs")
    linked, own = re.subn(r"<script src=[^>]*></script>", "", page.text)[::-1]
    assert linked == 1
    assert page.headers["cache-control"] == "no-cache"
    assert sources(page) == {
        "default-src": ["'none'"],
        "script-src": ["'self'", named("script", own)],
        "style-src": ["'self'"],
        "img-src": ["data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert re.findall(r"https?://", page.text) == []


@pytest.mark.parametrize(("path", "media_type"), FILES.items())
def test_its_files_are_sent_whole_to_who_has_them_not(gateway: GatewayProcess, path: str, media_type: str) -> None:
    sent = gateway.http.get(path, headers={"Range": "bytes=7-1"})
    assert (sent.status_code, sent.headers["content-type"]) == (200, f"{media_type}; charset=utf-8")
    assert sent.headers["cache-control"] == "no-cache"
    assert sent.headers["x-content-type-options"] == "nosniff"
    assert sent.headers["etag"] == f'"{hashlib.sha256(sent.content).hexdigest()}"'
    for tag in (sent.headers["etag"], f"W/{sent.headers['etag']}", f'"other", {sent.headers["etag"]}'):
        again = gateway.http.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", sent.headers["etag"])
    assert gateway.http.get(path, headers={"If-None-Match": '"other"'}).content == sent.content
    head = gateway.http.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(sent.content)))
    refused(gateway.http.post(path), 405, "POST")


def test_it_is_the_same_with_and_without_a_key_plan_or_store_and_its_document_asks_for_the_key(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    away = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": "127.0.0.1:1"}
    with support.gateway_process(tmp_path / "away", **away) as gateway:
        without_store = {path: gateway.http.get(path).content for path in ("/docs", *FILES)}
    support.seed(redis_client)
    with support.in_process(api_key_hashes=(hashlib.sha256(b"key").hexdigest(),)) as http:
        without_key = {path: http.get(path).content for path in ("/docs", *FILES)}
        refused(http.get("/openapi.json"), 401)
        refused(http.get("/docs/"), 401)
        refused(http.get("/docs/other.js"), 401)
        assert http.get("/openapi.json", headers={"Authorization": "Bearer key"}).status_code == 200
    assert without_store == without_key
    for word in (b"user_id", b"u1", b"profile", b"watch_hours", support.PROJECT.encode()):
        assert word not in without_key["/docs"]

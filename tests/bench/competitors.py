"""What the gateway is compared with: applications that uvicorn serves, `uvicorn tests.bench.competitors:NAME`.

BENCH_READ holds what a read needs to know, as JSON: prefix, suffix and fields (hex) and names.
"""

import json
import os
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

from api.value import decode

BODY: bytes = os.environ.get("BENCH_BODY", "{}").encode()
READ: dict[str, Any] = json.loads(os.environ.get("BENCH_READ", "{}"))

constant = FastAPI()
plain = FastAPI()


@constant.get("/features/{user_id}")
async def constant_answer(user_id: str) -> Any:
    """A FastAPI route that does nothing: the answer as an object, as routes return it."""
    return {**CONSTANT, "user_id": user_id}


CONSTANT = json.loads(BODY)


@plain.get("/features/{user_id}")
async def plain_answer(user_id: str) -> dict[str, Any]:
    """A FastAPI route over redis.asyncio, as one writes it: no status, no freshness, no metrics."""
    data = user_id.encode()
    key = bytes.fromhex(READ["prefix"]) + len(data).to_bytes(4, "little") + data + bytes.fromhex(READ["suffix"])
    values = await _redis().hmget(key, FIELDS)
    features = {name: decode(value) if value else None for name, value in zip(READ["names"], values, strict=True)}
    return {"user_id": user_id, "features": features}


FIELDS = [bytes.fromhex(field) for field in READ.get("fields", [])]
_clients: list[Any] = []


def _redis() -> Any:
    if not _clients:
        _clients.append(Redis.from_url(READ["redis"]))
    return _clients[0]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application with a constant answer: what the server alone can do."""
    if scope["type"] != "http":
        return
    headers = [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})

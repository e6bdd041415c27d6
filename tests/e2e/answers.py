"""What the gateway is to answer about the sample's customers, and what it does answer."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.e2e.sample_platform import GOLDEN
from tests.e2e.traffic import RightAnswers

Features = Mapping[str, Mapping[str, Any]]
"""Customer -> feature -> value."""
IN_ONE_CALL = 1000
ASKED_FOR = 20
PATIENCE_SECONDS = 30.0
BETWEEN_TRIES_SECONDS = 0.2


def for_traffic(features: Features) -> RightAnswers:
    """The right answers to requests for some of the customers, one by one."""
    users = [GOLDEN, *sorted(features)[:: len(features) // ASKED_FOR]]
    return {f"/features/{user}": (200, {"user_id": user, "features": features[user]}) for user in users}


def served(gateway: httpx.Client, users: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the gateway says of these customers, asked for many in one call."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(users), IN_ONE_CALL):
        asked = {"entities": {"user_id": users[start : start + IN_ONE_CALL]}}
        found |= {row["user_id"]: row["features"] for row in _patiently(gateway, "POST", "/features", asked)["results"]}
    return found


def features_of(gateway: httpx.Client, user: str, feature_service: str) -> dict[str, Any]:
    """What the gateway says of one customer."""
    answer = _patiently(gateway, "GET", f"/features/{user}?feature_service={feature_service}")
    features: dict[str, Any] = answer["features"]
    return features


def _patiently(gateway: httpx.Client, method: str, path: str, body: Any = None) -> Any:
    """The answer, asked for again for a while where there is none, or one that says that another try may help.

    For tests of what is answered; how often there is an answer, traffic tells.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = gateway.request(method, path, json=body)
            if answer.status_code == 200:
                return answer.json()
            seen = f"{answer.status_code} {answer.text}"
            final = answer.status_code != 503
        except httpx.TransportError as error:
            seen, final = f"{type(error).__name__}: {error}", False
        if final or time.monotonic() > deadline:
            raise AssertionError(f"{method} {path}: {seen}")
        time.sleep(BETWEEN_TRIES_SECONDS)

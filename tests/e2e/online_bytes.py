"""What the release's own Redis holds, byte for byte."""

import base64
import json
from collections.abc import Mapping

from tests.e2e import in_pods
from tests.e2e.release import Release

OWN_KEYS = b"feature-platform:".hex()


def hashes(release: Release, pod: str) -> dict[str, str]:
    """Each key in hex, and a digest of its hash: read as the jobs' user in a pod that the policies let to Redis."""
    secret = release.namespace.objects.get("Secret", f"{release.full}-redis-jobs")["data"]
    login = {name: base64.b64decode(secret[name]).decode() for name in ("username", "password")}
    order = json.dumps({"host": f"{release.full}-redis", **login}).encode()
    answers: dict[str, str] = json.loads(release.namespace.exec(pod, *in_pods.command("hashes"), stdin=order))
    return answers


def entities(held: Mapping[str, str]) -> dict[str, str]:
    """Features alone: the status beside them says also when they were written."""
    return {key: digest for key, digest in held.items() if not key.startswith(OWN_KEYS)}

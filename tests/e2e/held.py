"""What no upgrade may touch: passwords, the rows and bytes of the stores, and the stores' pods."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.namespace import component_selector
from tests.e2e.objects import Object
from tests.e2e.online_bytes import entities, hashes
from tests.e2e.release import Release

PASSWORDS = "kubernetes.io/basic-auth"
TABLES = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'offline' ORDER BY 1"
STORES = ("postgres", "redis")


@dataclass(frozen=True)
class Held:
    """Digests, so that a difference can be shown."""

    passwords: Mapping[str, str]
    """Secret -> SHA-256 of its data."""
    rows: Mapping[str, tuple[int, str]]
    """Table of the offline store -> number of rows, and a digest of them."""
    online: str
    """A digest of every entity's key, fields and values."""
    store_pods: Mapping[str, str]
    """Name -> uid."""


def held(release: Release, reader: str) -> Held:
    """What the release holds now; `reader` is a pod that the policies let to Redis."""
    objects = release.namespace.objects
    secrets = {secret["metadata"]["name"]: secret for secret in objects.all("Secret") if secret["type"] == PASSWORDS}
    pods = [pod for store in STORES for pod in objects.all("Pod", component_selector(store))]
    return Held(
        passwords={name: digest(secret["data"]) for name, secret in secrets.items()},
        rows={row["name"]: (row["number"], row["digest"]) for row in _rows(release)},
        online=digest(entities(hashes(release, reader))),
        store_pods={pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods},
    )


def digest(document: Mapping[str, str]) -> str:
    """The same for equal documents."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _rows(release: Release) -> list[Object]:
    tables = [row["name"] for row in release.sql(TABLES)]
    assert tables
    return release.sql(
        " UNION ALL ".join(
            f"SELECT '{table}' AS name, count(*) AS number, "
            f"md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) AS digest FROM offline.{table} AS t"
            for table in tables
        )
    )

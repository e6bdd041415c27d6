"""A Postgres and a Redis outside of a release, in a namespace of their own, and the Secrets that lead it there."""

import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.certificates import Authority
from tests.e2e.cluster import Cluster
from tests.e2e.namespace import Namespace, fresh_namespace
from tests.e2e.objects import Object
from tests.e2e.release import Release, psql_rows

MANIFESTS = Path(__file__).with_suffix(".yaml")
POSTGRES_USERS = ("owner", "ingest", "materialize", "trainingSet", "featureServer")
READS = "+hmget +hgetall +ping"
REDIS_USERS = {
    "gateway": f"%R~* {READS}",
    "featureServer": f"%R~* {READS}",
    "jobs": f"~* {READS} +hget +hvals +hset +hdel +scan +dbsize",
}
"""What each may do, as README says that it needs."""
AWKWARD = """ '"\\$ {%}: #=/@?&"""
"""The second part of every password, after a word."""
READY_TIMEOUT = "2m"


@dataclass(frozen=True)
class ExternalStores:
    """The two servers, and what a release is told of them."""

    namespace: Namespace
    values: Mapping[str, Any]
    secrets: frozenset[str]
    """The names of all Secrets in the release's namespace."""
    passwords: frozenset[str]


class ExternalRelease(Release):
    """A release without stores of its own."""

    def __init__(self, namespace: Namespace, stores: ExternalStores) -> None:
        super().__init__(namespace)
        self.stores = stores

    def sql(self, query: str) -> list[Object]:
        """The rows that the external Postgres answers, as its superuser; values as in JSON."""
        command = "exec psql -X -q -A -t -v ON_ERROR_STOP=1 -p 5433 -U postgres -d churn -f -"
        return psql_rows(self.stores.namespace, "postgres", command, query)


@contextmanager
def external_stores(cluster: Cluster, here: Namespace) -> Iterator[ExternalStores]:
    """Two servers that are ready, and every Secret in `here` that a release there needs."""
    users = {f"{store}-{name.lower()}": secrets.token_hex(8) + AWKWARD for store, name in _users()}
    with fresh_namespace(cluster, "e2e-stores") as there, tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        _start(there, authority, users)
        made = _lead(here, authority, users)
        yield ExternalStores(there, _values(there), frozenset(made), frozenset(users.values()))


def _users() -> Iterator[tuple[str, str]]:
    for name in POSTGRES_USERS:
        yield "postgres", name
    for name in REDIS_USERS:
        yield "redis", name


def _start(there: Namespace, authority: Authority, users: Mapping[str, str]) -> None:
    for store in ("postgres", "redis"):
        own = authority.certificate_for(_host(there, store))
        files = {"ca.crt": authority.certificate, "tls.crt": own.certificate, "tls.key": own.key}
        there.objects.create(_secret(f"{store}-tls", "Opaque", files))
    there.objects.create(_login("administrator", secrets.token_hex(16)))
    there.objects.create(_login("owner", users["postgres-owner"], "postgres-owner"))
    there.objects.create(_secret("redis-users", "Opaque", {"users.acl": _access(users)}))
    there.kubectl("create", "--filename", str(MANIFESTS))
    there.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={READY_TIMEOUT}")


def _access(users: Mapping[str, str]) -> str:
    """The users of Redis: nobody without a password, and each what it needs."""
    lines = ["user default off"]
    for name, may in REDIS_USERS.items():
        user = f"redis-{name.lower()}"
        password = hashlib.sha256(users[user].encode()).hexdigest()
        lines.append(f"user {user} on #{password} resetchannels -@all {may}")
    return "\n".join(lines) + "\n"


def _lead(here: Namespace, authority: Authority, users: Mapping[str, str]) -> list[str]:
    """Make the Secrets that the values name; their names."""
    made = [_login(name, password) for name, password in users.items()]
    made += [
        _secret("postgres-authority", "Opaque", {"root.pem": authority.certificate}),
        _secret("redis-authority", "Opaque", {"ca.crt": authority.certificate}),
    ]
    return [str(here.objects.create(secret)["metadata"]["name"]) for secret in made]


def _values(there: Namespace) -> dict[str, Any]:
    credentials: dict[str, dict[str, Any]] = {"postgres": {}, "redis": {}}
    for store, name in _users():
        credentials[store][name] = {"existingSecret": f"{store}-{name.lower()}"}
    return {
        "postgres": {"enabled": False},
        "externalPostgres": {
            "host": _host(there, "postgres"), "port": 5433, "database": "churn", "sslMode": "verify-full",
            "caSecret": {"name": "postgres-authority", "key": "root.pem"},
        },
        "redis": {"enabled": False},
        "externalRedis": {
            "connectionString": f"{_host(there, 'redis')}:6380",
            "tls": {"enabled": True, "caSecret": {"name": "redis-authority"}},
        },
        "credentials": credentials,
        "networkPolicy": {
            "storesTo": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": there.name}}}]
        },
    }  # fmt: skip


def _host(there: Namespace, store: str) -> str:
    return f"{store}.{there.name}.svc.cluster.local"


def _login(name: str, password: str, user: str = "") -> Object:
    return _secret(name, "kubernetes.io/basic-auth", {"username": user or name, "password": password})


def _secret(name: str, kind: str, texts: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "stringData": dict(texts)}

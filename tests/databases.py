"""Databases of one test each, copied from a template."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobs.local.servers import PostgresServer


@contextmanager
def clone(server: PostgresServer, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database made from `template`, which libpq's variables name."""
    name = f"test_{secrets.token_hex(6)}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        for variable, value in server.environment(name).items():
            monkeypatch.setenv(variable, value)
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def database_of(server: PostgresServer, template: str = "template1", owner: str = "postgres") -> Iterator[str]:
    """A database made from `template`, of this owner, which no variable names."""
    name = f"roles_{secrets.token_hex(6)}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner} STRATEGY file_copy")
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

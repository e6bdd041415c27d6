"""All that Redis holds. stdin: host, username, password; stdout: key in hex -> SHA-256 of its fields and values.

Every key of the platform is a hash; another kind is an error.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from itertools import chain
from typing import Any

import redis

BATCH = 1000


def digest(fields: Mapping[bytes, bytes]) -> str:
    """The same for the same fields and values, whatever their order."""
    parts = chain.from_iterable(sorted(fields.items()))
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


def main() -> None:
    """Read all of them."""
    client: Any = redis.Redis(**json.load(sys.stdin))
    keys = sorted(set(client.scan_iter(count=BATCH)))
    answers: dict[str, str] = {}
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        pipeline = client.pipeline(transaction=False)
        for key in batch:
            pipeline.hgetall(key)
        answers |= {key.hex(): digest(fields) for key, fields in zip(batch, pipeline.execute(), strict=True)}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()

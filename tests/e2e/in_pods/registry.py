"""The registry that a job sees, as the bytes of a Feast registry file. stdout: registry (base64), on its last line."""

import base64
import json

from jobs import postgres
from jobs.feast_store import import_feast_unchecked, open_store
from jobs.settings import load_settings


def main() -> None:
    """Read all of it."""
    postgres.export_credentials()
    import_feast_unchecked()
    registry = open_store(load_settings()).registry.proto().SerializeToString()
    print(json.dumps({"registry": base64.b64encode(registry).decode()}))


if __name__ == "__main__":
    main()

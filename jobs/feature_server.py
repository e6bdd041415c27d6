"""`python -m jobs.feature_server`: Feast's own feature server, with the settings under which it stays up."""

import os
import sys
from collections.abc import Sequence
from functools import partial

from jobs.errors import EXIT_DONE, JobError
from jobs.feast_store import export_to_feast, import_feast_unchecked
from jobs.flags import job_parser
from jobs.process import end_with_parent
from jobs.settings import load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = job_parser(
        "feature_server",
        "Serve the repository's features by Feast's own server: one worker (more break with an SQL registry; scale\n"
        "by pods), never recycled (recycling cuts connections), no access log.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=6566, help="port to listen on (default 6566)")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings()
    except JobError as error:
        print(f"feature_server: {error}", file=sys.stderr)
        return error.exit_code
    export_to_feast(settings)
    where = ["--host", arguments.host, "--port", str(arguments.port)]
    steady = ["--workers", "1", "--max-requests", "0", "--registry_ttl_sec", "60", "--no-access-log"]
    # Gunicorn's worker does not notice that its parent was killed, and would keep the port for ever.
    os.register_at_fork(after_in_child=partial(end_with_parent, os.getpid()))
    import_feast_unchecked()
    from feast.cli.cli import cli

    cli.main(["--chdir", str(settings.repo), "serve", *where, *steady], prog_name="feast", standalone_mode=False)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())

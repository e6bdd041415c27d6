"""The flags and the help text that jobs share."""

import argparse

LONGEST_WAIT_SECONDS = 86_400

ENVIRONMENT = """\
environment:
  PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE, PGSSLMODE, PGSSLROOTCERT
                        Postgres, as libpq names it
  FEATURE_PLATFORM_REPO                     the Feast repository (default feature_repo)
  FEATURE_PLATFORM_PROJECT                  the Feast project
  FEATURE_PLATFORM_REDIS_CONNECTION_STRING  Redis, as Feast writes it: host:port,username=...,password=...,ssl=true
                                            (README.md: IPv6, quoted texts, what Sentinels ask for)
  FEATURE_PLATFORM_REDIS_USERNAME, FEATURE_PLATFORM_REDIS_PASSWORD
                                            who we are there, where the connection string does not say it
  FEATURE_PLATFORM_REDIS_TYPE               redis (default), redis_sentinel or redis_cluster
  FEATURE_PLATFORM_REDIS_SENTINEL_MASTER    the name that the Sentinels know Redis by (default mymaster)
  FEATURE_PLATFORM_SECRETS_DIR              a folder of files, each named like a lower-case FEATURE_PLATFORM_ variable;
                                            its files pguser and pgpassword stand for PGUSER and PGPASSWORD
  FEATURE_PLATFORM_LOGINS_DIR               for apply: a folder of files JOB/username and JOB/password, the jobs' logins
  FEATURE_PLATFORM_TERMINATION_LOG          a file that gets the one-line summary (Kubernetes: /dev/termination-log)
"""


def job_parser(job: str, description: str) -> argparse.ArgumentParser:
    """A parser for `python -m jobs.JOB` whose help ends with the environment; `description` is shown as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m jobs.{job}",
        description=description,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_lock_wait(parser: argparse.ArgumentParser) -> None:
    """Give a writer's parser its `--lock-wait`."""
    parser.add_argument(
        "--lock-wait",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for another writer to finish before giving up with exit 75 (default 10)",
    )


def seconds(text: str) -> float:
    """A flag's number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LONGEST_WAIT_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {LONGEST_WAIT_SECONDS}")
    return number

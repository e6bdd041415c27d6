"""`python -m feature_repo.sample`: write monthly export folders."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from feature_repo.sample.export import FORMATS, write_export
from feature_repo.sample.generator import DEFAULT_SEED, FIRST_MONTH_END, TELCO_CUSTOMERS, generate


def main(argv: Sequence[str] | None = None) -> int:
    """Write the exports that the flags ask for, a line on stdout each. Exit 2: a wrong flag; 1: cannot write."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        for export in generate(args.months, args.customers, args.start, args.seed):
            folder = write_export(export, args.output, args.format)
            rows = export.tables["users"].num_rows
            print(f"{folder}  {rows:,} customers, delivered {export.delivered_at:%Y-%m-%dT%H:%M:%SZ}", flush=True)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m feature_repo.sample",
        description="Write monthly export folders made from IBM's Telco customers, named by the day they describe. "
        "Each folder states in the files AS_OF and DELIVERED_AT what it describes and when it was delivered; "
        "a corrected month has a second folder. The same flags write the same bytes.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the folders are written")
    parser.add_argument("--months", type=int, default=6, help="how many months (default %(default)s)")
    parser.add_argument("--start", type=_date, default=FIRST_MONTH_END, help="first month-end (default %(default)s)")
    parser.add_argument(
        "--customers", type=int, default=TELCO_CUSTOMERS, help="customers of the first month (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="a whole number (default %(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="csv", help="file format (default %(default)s)")
    return parser


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2024-01-31") from error


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.feast_history`: a feature store's training rows to Parquet, with the time that it took.

The entities are a SQL query, or with --frame a pandas frame, read from Parquet before time counts.
"""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

from tests.bench.events import FINISHED, STARTED, mark


def main() -> None:
    """Read the flags and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--service", required=True)
    entities = parser.add_mutually_exclusive_group(required=True)
    entities.add_argument("--query")
    entities.add_argument("--frame", type=Path)
    parser.add_argument("--parts", action="store_true", help="part by part, which our own store can")
    arguments = parser.parse_args()
    store = FeatureStore(repo_path=str(arguments.repository))
    rows = arguments.query or pd.read_parquet(arguments.frame)
    mark(STARTED)
    job = store.get_historical_features(rows, store.get_feature_service(arguments.service))
    if arguments.parts:
        _write_parts(job, arguments.output)
    else:
        pq.write_table(job.to_arrow(), arguments.output)
    mark(FINISHED)


def _write_parts(job: Any, file: Path) -> None:
    parts: Iterator[pa.Table] = job.parts()
    first = next(parts)
    with pq.ParquetWriter(file, first.schema) as writer:
        for part in chain([first], parts):
            writer.write_table(part)


if __name__ == "__main__":
    main()

"""What a training set's manifest says; nothing in it depends on when or where it was made."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs import VERSION
from jobs.definitions import Definitions
from jobs.instants import isoformat
from jobs.training.leak_proof import LabelProof, ViewProof
from jobs.training.rows import RULES, Counts
from jobs.training.window import Horizon

if TYPE_CHECKING:
    from feast import FeatureStore

FORMAT = 1


@dataclass(frozen=True)
class ColumnAbout:
    """What the manifest says of a column."""

    name: str
    type: str
    nulls: int
    defaulted_elements: int
    """NULLs in its lists, which are the default value that Feast writes online."""


def registry_hash(store: "FeatureStore", definitions: Definitions) -> str:
    """sha256 of all definitions, the code of on-demand views included; applying the same ones again changes nothing."""
    code = {
        view.name: getattr(view.feature_transformation, "udf_string", "")
        for view in store.list_on_demand_feature_views()
    }
    text = json.dumps([asdict(definitions), code], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(
    *,
    project: str,
    feature_service: str,
    registry: str,
    horizon: Horizon,
    grace: timedelta,
    counts: Sequence[Counts],
    left_out_rows: Mapping[str, int],
    columns: Sequence[ColumnAbout],
    label: str,
    view_proofs: Mapping[str, ViewProof],
    label_proof: LabelProof,
) -> dict[str, object]:
    """The manifest without its files. Times are in UTC, durations in seconds."""
    return {
        "format": FORMAT,
        "platform_version": VERSION,
        "project": project,
        "feature_service": feature_service,
        "registry_sha256": registry,
        "window": {"start": isoformat(counts[0].event_timestamp), "end": isoformat(counts[-1].event_timestamp)},
        "label": label,
        "label_horizon": horizon.text,
        "label_tolerance_seconds": horizon.tolerance.total_seconds(),
        "grace_seconds": grace.total_seconds(),
        "rows": sum(count.rows for count in counts),
        "rules": RULES,
        "left_out_rows": dict(left_out_rows),
        "event_timestamps": [_counted(count) for count in counts],
        "columns": [asdict(column) for column in columns],
        "proof": {
            "feature_views": {name: asdict(proof) for name, proof in view_proofs.items()},
            "labels": asdict(label_proof),
        },
    }


def _counted(count: Counts) -> dict[str, object]:
    return {
        "event_timestamp": isoformat(count.event_timestamp),
        "candidates": count.candidates,
        "removed": count.removed,
        "rows": count.rows,
    }

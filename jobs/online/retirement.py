"""Features and views that left the definitions: served while a plan reads them, removed by the next materialization."""

from collections.abc import Mapping
from dataclasses import replace

from jobs.definitions import Definitions
from jobs.lock import WriterLock
from jobs.online.encoding import feature_field, timestamp_field
from jobs.online.key_scan import entity_keys
from jobs.online.serving_plan import read_plan
from jobs.online.status import ViewStatus, remove_status, write_status
from jobs.online.store import Client, remove_fields


def retired_features(defined: Mapping[str, str], entry: ViewStatus | None) -> list[str]:
    """The features that the online store holds for a view and the definitions do not, sorted."""
    return [] if entry is None else sorted({*entry.features, *entry.retired} - defined.keys())


def purge_retired(
    client: Client, definitions: Definitions, status: dict[str, ViewStatus], lock: WriterLock
) -> dict[str, ViewStatus]:
    """Remove what is defined no more and read by no serving plan from the online store; returns the status after it."""
    project = definitions.project
    plan = read_plan(client, project)
    served = plan.reads() if plan is not None else set()
    defined = {view.name: view.feature_types for view in definitions.views}
    after = dict(status)
    for view, entry in status.items():
        retired = retired_features(defined.get(view, {}), entry)
        gone = [feature for feature in retired if (view, feature) not in served]
        whole_view = view not in defined and gone == retired
        if not gone and not whole_view:
            continue
        fields = [feature_field(view, feature) for feature in gone]
        _remove(client, project, [*fields, timestamp_field(view)] if whole_view else fields, lock)
        if whole_view:
            remove_status(client, project, [view])
            del after[view]
        else:
            features = {name: kind for name, kind in entry.features.items() if name not in gone}
            rest = [name for name in entry.retired if name not in gone]
            after[view] = replace(entry, features=features, retired=rest)
            write_status(client, project, {view: after[view]})
    return after


def _remove(client: Client, project: str, fields: list[bytes], lock: WriterLock) -> None:
    # The view may be gone, and with it what its keys look like: every entity of the project is asked.
    for keys in entity_keys(client, project, b""):
        lock.check()
        remove_fields(client, keys.to_pylist(), fields)

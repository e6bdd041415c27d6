"""What of the definitions cannot be served everywhere alike: by the gateway, by Feast and in training sets."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

from jobs.online.encoding import feature_field

if TYPE_CHECKING:
    from jobs.definitions import OnDemandView, Service, SnapshotView

LONGEST_TTL = timedelta(days=365_000)
RESERVED_KEYS = ("features", "found", "metadata")
"""Parts of the gateway's answers, which hold the join keys beside them."""


def problems(
    views: Sequence["SnapshotView"], on_demand: Sequence["OnDemandView"], services: Sequence["Service"]
) -> Iterator[str]:
    """A sentence for each fault. Whatever the definitions refer to, they hold."""
    things: list[SnapshotView | OnDemandView | Service] = [*views, *on_demand, *services]
    for thing in things:
        if any("\0" in text for text in _texts(asdict(thing))):
            yield f"{thing.name!r} has the character NUL in a text, which Postgres cannot keep; take it out"
    for computed in on_demand:
        yield from _of_features(computed)
    for view in views:
        yield from _of_features(view)
        yield from _of_snapshot_view(view)
    yield from _one_field_for_two(views)
    keys_of: dict[str, Sequence[tuple[str, str]]] = {view.name: _keys(view) for view in views}
    for computed in on_demand:
        keys_of[computed.name] = [key for name in _inputs(computed) for key in keys_of[name]]
        yield from _one_key_of_two_types(f"on-demand feature view {computed.name}", keys_of[computed.name])
    for service in services:
        yield from _of_service(service, keys_of)


def _texts(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        yield from _texts(tuple(part.items()))
    elif isinstance(part, tuple):
        yield from chain.from_iterable(map(_texts, part))


def _of_features(view: "SnapshotView | OnDemandView") -> Iterator[str]:
    names = [feature.name for feature in view.features]
    if "" in names:
        yield f"feature view {view.name} has a feature without a name; give it one"
    for name in _doubled(names):
        yield f"feature view {view.name} has two features named {name}; rename one"


def _of_snapshot_view(view: "SnapshotView") -> Iterator[str]:
    for key in view.join_keys:
        if not key.name:
            yield f"feature view {view.name} has a join key without a name; give it one"
        if key.name in RESERVED_KEYS:
            yield (
                f"join key {key.name} of feature view {view.name} is named like a part of the gateway's answers "
                f"({', '.join(RESERVED_KEYS)}), which would hide it; rename it"
            )
    if view.ttl is not None and not timedelta(0) < view.ttl <= LONGEST_TTL:
        yield (
            f"feature view {view.name} has the ttl {view.ttl}; write one of more than nothing and at most "
            f"{LONGEST_TTL.days} days, or none where values never grow too old"
        )


def _one_field_for_two(views: Iterable["SnapshotView"]) -> Iterator[str]:
    """Two features of an entity of which one would be written over the other."""
    owners: dict[tuple[object, bytes], str] = {}
    for view in views:
        for feature in view.features:
            reference = f"{view.name}:{feature.name}"
            first = owners.setdefault((tuple(_keys(view)), feature_field(view.name, feature.name)), reference)
            if first != reference:
                yield (
                    f"features {first} and {reference} have the same field in Redis, because the hash that Feast makes "
                    "of their names is the same; rename one"
                )


def _of_service(service: "Service", keys_of: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    who = f"feature service {service.name}"
    if not service.name:
        yield "a feature service has no name; give it one"
    if not service.features:
        yield f"{who} has no features; give it one or leave it out"
    for reference in _doubled(f"{feature.feature_view}:{feature.feature}" for feature in service.features):
        yield f"{who} lists feature {reference} more than once; list it once"
    yield from _of_service_names(service)
    views = dict.fromkeys(feature.feature_view for feature in service.features)
    keys = [key for name in views for key in keys_of[name]]
    yield from _one_key_of_two_types(who, keys)
    for name in sorted({feature.name for feature in service.features} & {name for name, _ in keys}):
        yield f"{who} has a feature and a join key named {name}; rename one"


def _of_service_names(service: "Service") -> Iterator[str]:
    who = f"feature service {service.name}"
    views: dict[str, str] = {}
    references: dict[str, str] = {}
    origins: dict[str, str] = {}
    for feature in service.features:
        # An answer holds one value per name: of two features with one name, one would be lost without a word.
        origin = origins.setdefault(feature.name, feature.feature_view)
        if origin != feature.feature_view:
            yield f"{who} has two features named {feature.name}, of {origin} and of {feature.feature_view}; rename one"
        reference = f"{feature.feature_view}:{feature.feature}"
        first = references.setdefault(feature.full_name, reference)
        if first != reference:
            yield f"{who} has two features with the full name {feature.full_name}, {first} and {reference}; rename one"
        alias = feature.full_name.removesuffix(f"__{feature.name}")
        if {":", "@"} & set(alias):
            yield f"{who} calls feature view {feature.feature_view} {alias}; take : and @ out of that name"
        other = views.setdefault(alias, feature.feature_view)
        if other != feature.feature_view:
            yield f"{who} calls both {other} and {feature.feature_view} {alias}; give each a name of its own"


def _one_key_of_two_types(who: str, keys: Iterable[tuple[str, str]]) -> Iterator[str]:
    types: dict[str, str] = {}
    for name, kind in keys:
        first = types.setdefault(name, kind)
        if first != kind:
            yield (
                f"{who} reads feature views in which join key {name} has the types {first} and {kind}; "
                "a caller sends one value for both, so give them one type"
            )


def _keys(view: "SnapshotView") -> list[tuple[str, str]]:
    return [(key.name, key.type) for key in view.join_keys]


def _inputs(view: "OnDemandView") -> Iterable[str]:
    return dict.fromkeys(reference.partition(":")[0] for reference in view.inputs)


def _doubled(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]

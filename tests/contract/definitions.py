"""Definitions as Feast would take them, of any names and shapes: also those that cannot be served."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from jobs.definitions import Definitions, Feature, JoinKey, OnDemandView, Service, ServiceFeature, SnapshotView
from jobs.online.encoding import KEY_TYPES, VALUE_TYPES
from jobs.servable import LONGEST_TTL, problems

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
# Short ones clash; the others are long enough not to.
NAMES = st.sampled_from(
    ["a", "b", "c", "a__b", "b__c", "features", "found", "user_id", "x y", "ü", "a:b", "%s", ""]
) | st.text(min_size=3, max_size=20)
# Feast refuses names of views that are empty, or hold : or @, or differ in case only.
VIEW_NAMES = st.sampled_from(["a", "b", "a__b", "v w", "ö"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=":@"), min_size=3, max_size=20
)
KEY_NAMES = st.sampled_from(["user_id", "film", "клиент", "id %", "__dummy", "found"])
TAGS = st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2)
TTLS = st.none() | st.timedeltas(timedelta(seconds=-1), timedelta(days=100_000)) | st.timedeltas()


@st.composite
def features(draw: st.DrawFn, least: int = 0) -> tuple[Feature, ...]:
    names = draw(st.lists(NAMES, min_size=least, max_size=4, unique=draw(st.integers(0, 9)) > 0))
    types = st.sampled_from(sorted(VALUE_TYPES))
    return tuple(Feature(name, name, draw(types), draw(ANY_TEXT), draw(TAGS)) for name in names)


@st.composite
def snapshot_view(draw: st.DrawFn, name: str) -> SnapshotView:
    # Mostly the same types, so that views can be read together.
    keys = draw(st.dictionaries(KEY_NAMES, st.sampled_from(["STRING"] * 10 + sorted(KEY_TYPES)), max_size=2))
    return SnapshotView(
        name=name, join_keys=tuple(JoinKey(key, key, keys[key]) for key in sorted(keys)), relation="t",
        source=draw(ANY_TEXT), as_of_column="as_of", created_at_column=None, tombstone_column=None, ttl=draw(TTLS),
        features=draw(features()), description=draw(ANY_TEXT), owner=draw(ANY_TEXT), tags=draw(TAGS),
    )  # fmt: skip


@st.composite
def on_demand_view(draw: st.DrawFn, name: str, views: Sequence[SnapshotView]) -> OnDemandView:
    references = [f"{view.name}:{feature.name}" for view in views for feature in view.features]
    inputs = draw(st.lists(st.sampled_from(references), max_size=3, unique=True)) if references else []
    return OnDemandView(name, draw(features(1)), tuple(sorted(inputs)), draw(ANY_TEXT), draw(ANY_TEXT), draw(TAGS))


@st.composite
def service(draw: st.DrawFn, name: str, views: Sequence[SnapshotView | OnDemandView]) -> Service:
    chosen = draw(st.lists(st.sampled_from(views), max_size=3, unique_by=lambda view: view.name))
    alias = draw(st.integers(0, 9)) == 0
    items = [
        ServiceFeature(item.name, f"{'alias' if alias else view.name}__{item.name}", view.name, item.name)
        for view in chosen
        for item in view.features
    ]
    if items and draw(st.integers(0, 9)) == 0:
        items.append(draw(st.sampled_from(items)))
    return Service(name, tuple(items), draw(ANY_TEXT), draw(ANY_TEXT), draw(TAGS))


@st.composite
def definitions(draw: st.DrawFn) -> Definitions:
    names = draw(st.lists(VIEW_NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    stored = draw(st.integers(1, len(names)))
    views = [draw(snapshot_view(name)) for name in sorted(names[:stored])]
    on_demand = [draw(on_demand_view(name, views)) for name in sorted(names[stored:])]
    of_services = sorted(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    services = [draw(service(name, [*views, *on_demand])) for name in of_services]
    return Definitions("demo", tuple(views), tuple(on_demand), tuple(services), draw(st.sampled_from(of_services)))


def accepted(found: Definitions) -> bool:
    """Whether `apply` has nothing to say against it; without any feature service, there is no default one."""
    return bool(found.services) and next(problems(found.views, found.on_demand_views, found.services), None) is None


def servable_definitions() -> st.SearchStrategy[Definitions]:
    """Those that `apply` accepts."""
    return definitions().map(_mended).filter(accepted)


def _mended(found: Definitions) -> Definitions:
    """Without what `apply` most often has to refuse."""
    views = tuple(_mended_view(view) for view in found.views)
    on_demand = tuple(
        replace(
            view,
            features=_named_apart(view.features),
            inputs=tuple(one for one in view.inputs if not one.endswith(":")),
        )
        for view in found.on_demand_views
    )
    keys = {key.name for view in views for key in view.join_keys}
    services = tuple(replace(one, features=_apart(one.features, keys)) for one in found.services if one.name)
    kept = tuple(one for one in services if one.features)
    default = kept[0].name if kept else ""
    return replace(found, views=views, on_demand_views=on_demand, services=kept, default_service=default)


def _mended_view(view: SnapshotView) -> SnapshotView:
    types = dict(zip(("user_id", "film", "клиент", "id %", "__dummy"), sorted(KEY_TYPES), strict=True))
    keys = tuple(replace(key, type=types[key.name]) for key in view.join_keys if key.name in types)
    ttl = view.ttl if view.ttl is not None and timedelta(0) < view.ttl < LONGEST_TTL else None
    return replace(view, join_keys=keys, ttl=ttl, features=_named_apart(view.features))


def _named_apart(found: Sequence[Feature]) -> tuple[Feature, ...]:
    return tuple({feature.name: feature for feature in found if feature.name}.values())


def _apart(found: Sequence[ServiceFeature], taken: set[str]) -> tuple[ServiceFeature, ...]:
    by_name = {item.name: item for item in found if item.name and item.name not in taken}
    return tuple({item.full_name: item for item in by_name.values()}.values())

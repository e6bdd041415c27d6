"""What one request asks for, resolved against the plan: which hashes and fields to read, and how to answer.

Selections of feature services are made once per plan; the reader only follows them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from api import entity_key
from api.entity_key import JoinKey
from api.instants import SECOND
from api.online_store import HashFields, HashRead
from api.plan import Plan, PlanJoinKey, ServiceFeature, split
from api.problems import InvalidRequest, NotServable, cut


@dataclass(frozen=True, slots=True)
class Stored:
    """A feature in the online store, and where its bytes are in the reply: group, then position."""

    view: str
    feature: str
    group: int
    position: int
    timestamp_position: int
    ttl: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A feature of the answer: read from `sources[0]`, or computed on demand from all of them. `type`: Feast's name."""

    name: str
    full_name: str
    view: str
    feature: str
    type: str
    on_demand: bool
    sources: tuple[Stored, ...]

    @property
    def reference(self) -> str:
        """The feature as `view:feature`."""
        return f"{self.view}:{self.feature}"


@dataclass(slots=True)
class Group:
    """The fields to read from one hash of an entity, for all views that share its join keys."""

    join_keys: tuple[JoinKey, ...]
    names: list[bytes] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)
    timestamp_positions: dict[str, int] = field(default_factory=dict)
    prefix: bytes = b""
    fields: HashFields = field(default_factory=lambda: HashFields(()))

    @property
    def entity_less(self) -> bool:
        """Whether this hash is the same for everybody."""
        return self.join_keys == (entity_key.ENTITY_LESS,)

    def place(self, data: bytes) -> int:
        """Position in the reply of a hash field, which is read once however many ask for it."""
        place = self.places.setdefault(data, len(self.names))
        if place == len(self.names):
            self.names.append(data)
        return place


@dataclass(frozen=True, slots=True)
class Selection:
    """The asked features in order, the hashes to read for them, and all join keys and stored views involved."""

    service: str | None
    asked: tuple[Asked, ...]
    groups: tuple[Group, ...]
    join_keys: tuple[JoinKey, ...]
    views: tuple[str, ...]
    on_demand: bool

    def reads(self, row: dict[str, str | int], project: bytes) -> list[HashRead]:
        """What to read of each group for a row of parsed join keys."""
        return [
            (
                group.prefix
                + b"".join(entity_key.encode_value(key, row.get(key.name, "")) for key in group.join_keys)
                + project,
                group.fields,
            )
            for group in self.groups
        ]


class _Builder:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.groups: list[Group] = []
        self.stored: dict[tuple[str, str], Stored] = {}

    def source(self, view_name: str, feature: str) -> Stored:
        found = self.stored.get((view_name, feature))
        if found is None:
            found = self.stored[view_name, feature] = self._place(view_name, feature)
        return found

    def _place(self, view_name: str, feature: str) -> Stored:
        view = self.plan.feature_views[view_name]
        number = self._group(view.join_keys)
        group = self.groups[number]
        timestamp = group.timestamp_positions[view_name] = group.place(view.timestamp_field)
        position = group.place(view.features[feature].field)
        ttl = None if view.ttl_seconds is None else round(view.ttl_seconds * SECOND)
        return Stored(view_name, feature, number, position, timestamp, ttl)

    def _group(self, keys: Sequence[PlanJoinKey]) -> int:
        wanted = tuple(sorted((JoinKey(key.name, key.type) for key in keys), key=lambda key: key.name))
        wanted = wanted or (entity_key.ENTITY_LESS,)
        for number, group in enumerate(self.groups):
            if group.join_keys == wanted:
                return number
        self.groups.append(Group(wanted, prefix=entity_key.prefix(wanted)))
        return len(self.groups) - 1

    def asked(self, wanted: ServiceFeature) -> Asked:
        view, feature = wanted.feature_view, wanted.feature
        on_demand = self.plan.on_demand_feature_views.get(view)
        references = [(view, feature)] if on_demand is None else map(split, on_demand.inputs)
        sources = tuple(self.source(*reference) for reference in references)
        kind = (on_demand or self.plan.feature_views[view]).features[feature].type
        return Asked(wanted.name, wanted.full_name, view, feature, kind, on_demand is not None, sources)


def select(plan: Plan, wanted: Iterable[ServiceFeature], service: str | None = None) -> Selection:
    """Resolve features that the plan is known to hold."""
    builder = _Builder(plan)
    asked = tuple(builder.asked(feature) for feature in wanted)
    for group in builder.groups:
        group.fields = HashFields(group.names)
    keys = {key.name: key for group in builder.groups for key in group.join_keys if key != entity_key.ENTITY_LESS}
    return Selection(
        service,
        asked,
        tuple(builder.groups),
        tuple(keys[name] for name in sorted(keys)),
        tuple(dict.fromkeys(view for view, _ in builder.stored)),
        any(feature.on_demand for feature in asked),
    )


class Selector:
    """Resolves requests against one plan. NotServable gives the reason for what the plan is wrong about."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.services = {name: select(plan, service.features, name) for name, service in plan.feature_services.items()}

    def resolve(self, service: str | None, features: Sequence[str] | None, full_names: bool = False) -> Selection:
        """The selection of a feature service (None: the default one), or of some features.

        `features` holds names out of that service, or `view:feature` references; InvalidRequest names what is unknown.
        """
        name = service if service is not None else self.plan.default_feature_service
        if features is None:
            return self.services[self.known(name)]
        if service is not None:
            self.known(service)
        if not features:
            raise InvalidRequest("features must name at least one feature.")
        wanted = [self._feature(name, reference) for reference in features]
        names = [feature.full_name if full_names else feature.name for feature in wanted]
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise InvalidRequest(f"features names {twice!r} more than once.")
        conflict = self.plan.key_conflict(dict.fromkeys(feature.feature_view for feature in wanted))
        if conflict is not None:
            raise InvalidRequest(f"These features cannot be read together: {conflict}.")
        return select(self.plan, wanted)

    def known(self, name: str | None) -> str:
        """The name of a feature service that can be served; InvalidRequest if there is none of that name."""
        if name is None:
            raise InvalidRequest("The serving plan has no default feature service; name one in feature_service.")
        if name in self.plan.problems:
            raise NotServable(f"Feature service {name!r} cannot be served: {self.plan.problems[name]}.")
        if name not in self.services:
            raise InvalidRequest(
                f"Feature service {name[:100]!r} is unknown; the known ones are {', '.join(sorted(self.services))}."
            )
        return name

    def _feature(self, service: str | None, reference: str) -> ServiceFeature:
        if ":" in reference:
            view, feature = split(reference)
            flaw = self.plan.flaw(view, feature)
            if flaw is not None:
                raise NotServable(f"Feature {reference[:200]!r} cannot be served: {flaw}.")
            if not self.plan.holds(view, feature):
                raise InvalidRequest(
                    f"Feature {cut(reference)!r} is unknown; "
                    f"GET /feature-services/{service or '{name}'} lists the known ones."
                )
            return ServiceFeature(name=feature, full_name=f"{view}__{feature}", feature_view=view, feature=feature)
        for known in self.plan.feature_services[self.known(service)].features:
            if known.name == reference:
                return known
        raise InvalidRequest(
            f"Feature {cut(reference)!r} is not in feature service {service!r}; "
            f"name one of its features, or any feature as view:feature."
        )

"""The serving plan: what `apply` publishes in Redis and the gateway serves by. Format 1, read by `api.plan_reading`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.entity_key import KeyType

Tags = dict[str, str]
# Parts of answers, which hold the join keys beside them.
_RESERVED = ("features", "found", "metadata")
# Beyond any duration of Python's; as nanoseconds it is still a number.
_LONGEST_TTL = 1e14


def _unhex(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        raise ValueError("must be bytes in hex") from None


def _unreserved(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"must not be {', '.join(_RESERVED)}, which are parts of answers")
    return name


HexBytes = Annotated[bytes, BeforeValidator(_unhex), Field(min_length=1)]


class Part(BaseModel):
    """An object of the document; what this release does not know of it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlanJoinKey(Part):
    """A join key of a view."""

    name: Annotated[str, Field(min_length=1), AfterValidator(_unreserved)]
    type: KeyType


class Described(Part):
    """What people wrote about a thing."""

    description: str = ""
    owner: str = ""
    tags: Tags = {}


class StoredFeature(Part):
    """A feature in Redis: `field` is its hash field."""

    field: HexBytes
    type: str
    description: str = ""
    tags: Tags = {}


class FeatureView(Described):
    """A view in Redis; no `ttl_seconds`, no limit; no join keys, one row for everybody."""

    join_keys: tuple[PlanJoinKey, ...]
    ttl_seconds: float | None = Field(gt=0, le=_LONGEST_TTL)
    timestamp_field: HexBytes
    source: str = ""
    features: dict[str, StoredFeature]


class OnDemandFeature(Part):
    """A feature that the feature server computes."""

    type: str
    description: str = ""
    tags: Tags = {}


class OnDemandFeatureView(Described):
    """Features computed together; `inputs` are `view:feature` references."""

    features: dict[str, OnDemandFeature]
    inputs: tuple[str, ...]


class ServiceFeature(Part):
    """A feature of a service: `name` is its name in answers."""

    name: str = Field(min_length=1)
    full_name: str = Field(min_length=1)
    feature_view: str
    feature: str


class FeatureService(Described):
    """What a model asks for, in this order."""

    features: tuple[ServiceFeature, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Plan:
    """What can be served, and what is wrong with the rest."""

    project: str
    default_feature_service: str | None
    feature_views: dict[str, FeatureView]
    on_demand_feature_views: dict[str, OnDemandFeatureView]
    feature_services: dict[str, FeatureService] = field(default_factory=dict)
    """Those that can be served."""
    problems: dict[str, str] = field(default_factory=dict)
    """Name of each feature service that cannot be served to the reason."""
    flaws: dict[tuple[str, str | None], str] = field(default_factory=dict)
    """What is wrong with a feature view (view, None), or with one feature (view, feature)."""

    def stores(self, view: str, feature: str) -> bool:
        """Whether the feature is in Redis."""
        return view in self.feature_views and feature in self.feature_views[view].features

    def holds(self, view: str, feature: str) -> bool:
        """Whether the feature can be asked for, unless it has a flaw."""
        on_demand = self.on_demand_feature_views.get(view)
        return self.stores(view, feature) or (on_demand is not None and feature in on_demand.features)

    def flaw(self, view: str, feature: str) -> str | None:
        """Why the feature cannot be served, if it cannot although the plan has it."""
        return self.flaws.get((view, None)) or self.flaws.get((view, feature))

    def key_conflict(self, views: Iterable[str]) -> str | None:
        """What keeps these views, all without a flaw, from being read together: one join key of two types."""
        types: dict[str, str] = {}
        for key in (key for view in views for key in self._join_keys(view)):
            if types.setdefault(key.name, key.type) != key.type:
                return f"join key {key.name!r} is {types[key.name]} in one feature view and {key.type} in another"
        return None

    def _join_keys(self, view: str) -> list[PlanJoinKey]:
        computed = self.on_demand_feature_views.get(view)
        stored = [view] if computed is None else [split(reference)[0] for reference in computed.inputs]
        return [key for name in stored for key in self.feature_views[name].join_keys]


def split(reference: str) -> tuple[str, str]:
    """`view:feature` as (view, feature)."""
    view, _, feature = reference.partition(":")
    return view, feature

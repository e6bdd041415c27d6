"""The serving plan: what `apply` publishes in Redis and the gateway serves by. Format 1."""

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from api.entity_key import KeyType

FORMAT = 1
Tags = dict[str, str]


class PlanRejected(ValueError):
    """A plan that cannot be served by; the message says why in one sentence."""


def _unhex(text: object) -> object:
    return bytes.fromhex(text) if isinstance(text, str) else text


HexBytes = Annotated[bytes, BeforeValidator(_unhex), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PlanJoinKey(_Part):
    """A join key of a view."""

    name: str = Field(min_length=1)
    type: KeyType


class Described(_Part):
    """What people wrote about a thing."""

    description: str = ""
    owner: str = ""
    tags: Tags = {}


class StoredFeature(_Part):
    """A feature in Redis: `field` is its hash field."""

    field: HexBytes
    type: str
    description: str = ""
    tags: Tags = {}


class FeatureView(Described):
    """A view in Redis; no `ttl_seconds`, no limit; no join keys, one row for everybody."""

    join_keys: tuple[PlanJoinKey, ...]
    ttl_seconds: float | None = Field(gt=0)
    timestamp_field: HexBytes
    source: str = ""
    features: dict[str, StoredFeature]


class OnDemandFeature(_Part):
    """A feature that the feature server computes."""

    type: str
    description: str = ""
    tags: Tags = {}


class OnDemandFeatureView(Described):
    """Features computed together; `inputs` are `view:feature` references."""

    features: dict[str, OnDemandFeature]
    inputs: tuple[str, ...]


class ServiceFeature(_Part):
    """A feature of a service: `name` is its name in answers."""

    name: str = Field(min_length=1)
    full_name: str = Field(min_length=1)
    feature_view: str
    feature: str


class FeatureService(Described):
    """What a model asks for, in this order."""

    features: tuple[ServiceFeature, ...] = Field(min_length=1)


class Plan(_Part):
    """The document; whatever it refers to, it holds."""

    format: Literal[1]
    project: str
    default_feature_service: str
    feature_views: dict[str, FeatureView]
    on_demand_feature_views: dict[str, OnDemandFeatureView] = {}
    feature_services: dict[str, FeatureService] = Field(min_length=1)

    @model_validator(mode="after")
    def _refers_to_what_it_holds(self) -> "Plan":
        if self.default_feature_service not in self.feature_services:
            raise ValueError(f"default feature service {self.default_feature_service!r} is not in it")
        for name, service in self.feature_services.items():
            missing = [f.name for f in service.features if not self.holds(f.feature_view, f.feature)]
            if missing:
                raise ValueError(f"feature service {name!r} names {missing[0]!r}, which no view has")
            if len({feature.name for feature in service.features}) < len(service.features):
                raise ValueError(f"feature service {name!r} names a feature twice")
        for name, view in self.on_demand_feature_views.items():
            unknown = [ref for ref in view.inputs if not self.stores(*split(ref))]
            if unknown:
                raise ValueError(f"on-demand feature view {name!r} reads {unknown[0]!r}, which no view has")
        return self

    def stores(self, view: str, feature: str) -> bool:
        """Whether the feature is in Redis."""
        return view in self.feature_views and feature in self.feature_views[view].features

    def holds(self, view: str, feature: str) -> bool:
        """Whether the feature can be asked for."""
        on_demand = self.on_demand_feature_views.get(view)
        return self.stores(view, feature) or (on_demand is not None and feature in on_demand.features)

    @cached_property
    def join_keys(self) -> dict[str, PlanJoinKey]:
        """Every join key of every view, by name."""
        return {key.name: key for view in self.feature_views.values() for key in view.join_keys}


def split(reference: str) -> tuple[str, str]:
    """`view:feature` as (view, feature)."""
    view, _, feature = reference.partition(":")
    return view, feature


def parse(document: bytes, version: str, project: str) -> Plan:
    """The plan in `document` if it is whole, of a format this gateway knows and of this project; else PlanRejected."""
    if hashlib.sha256(document).hexdigest() != version:
        raise PlanRejected("its version is not the SHA-256 of its bytes")
    try:
        plan = Plan.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PlanRejected(f"{where or 'the plan'}: {first['msg']}") from None
    if plan.project != project:
        raise PlanRejected(f"it is for project {plan.project!r}, this gateway serves {project!r}")
    return plan

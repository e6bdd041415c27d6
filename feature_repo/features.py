"""The features of StreamFlow's churn model: one entity, four monthly snapshots, two services.

A NULL says "does not apply or is unknown": a customer without internet has no streaming plan to switch on or off, one
without tickets no resolution hours.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String

OWNER = "data-team@streamflow.example"

# A month and a half: the month's snapshot, and time for the next one to arrive late.
TTL = timedelta(days=45)

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A customer of StreamFlow, by the id the billing system gave",
    owner=OWNER,
)


def snapshot(table: str, description: str) -> PostgreSQLSource:
    """The monthly snapshot table `table`; a row whose `tombstone` is true reads as no row."""
    return PostgreSQLSource(
        name=table,
        table=table,
        timestamp_field="as_of",
        created_timestamp_column="created_at",
        description=description,
        owner=OWNER,
        tags={"tombstone_column": "tombstone"},
    )


subscriptions = snapshot("subscriptions_profile_snapshots", "The subscription of each customer at the month's end")
usage = snapshot("usage_agg_30d_snapshots", "What each customer watched in the 30 days before the month's end")
payments = snapshot("payments_agg_90d_snapshots", "Payments of each customer in the 90 days before the month's end")
support = snapshot(
    "support_agg_90d_snapshots", "Support tickets of each customer in the 90 days before the month's end"
)

subs_profile_fv = FeatureView(
    name="subs_profile_fv",
    description="The subscription as it stands",
    entities=[user],
    ttl=TTL,
    source=subscriptions,
    owner=OWNER,
    schema=[
        Field(name="months_active", dtype=Int64, description="Months since the customer joined"),
        Field(name="monthly_fee", dtype=Float64, description="Fee of the current month, US dollars"),
        Field(name="paperless_billing", dtype=Bool, description="Whether bills are sent without paper"),
        Field(name="plan_stream_tv", dtype=Bool, description="Whether TV is streamed; NULL without internet"),
        Field(name="plan_stream_movies", dtype=Bool, description="Whether films are streamed; NULL without internet"),
        Field(name="net_service", dtype=String, description="Kind of internet service: DSL, Fiber optic or No"),
    ],
)

usage_agg_30d_fv = FeatureView(
    name="usage_agg_30d_fv",
    description="Viewing in the last 30 days",
    entities=[user],
    ttl=TTL,
    source=usage,
    owner=OWNER,
    schema=[
        Field(name="watch_hours_30d", dtype=Float64, description="Hours watched in 30 days"),
        Field(name="avg_session_mins_7d", dtype=Float64, description="Mean length of a session in 7 days, minutes"),
        Field(name="unique_devices_30d", dtype=Int64, description="Devices seen in 30 days"),
        Field(name="skips_7d", dtype=Int64, description="Titles skipped in 7 days"),
        Field(name="rebuffer_events_7d", dtype=Int64, description="Times a stream stalled in 7 days"),
    ],
)

payments_agg_90d_fv = FeatureView(
    name="payments_agg_90d_fv",
    description="Payments in the last 90 days",
    entities=[user],
    ttl=TTL,
    source=payments,
    owner=OWNER,
    schema=[Field(name="failed_payments_90d", dtype=Int64, description="Payments that failed in 90 days")],
)

support_agg_90d_fv = FeatureView(
    name="support_agg_90d_fv",
    description="Support in the last 90 days",
    entities=[user],
    ttl=TTL,
    source=support,
    owner=OWNER,
    schema=[
        Field(name="support_tickets_90d", dtype=Int64, description="Tickets opened in 90 days"),
        Field(
            name="ticket_avg_resolution_hrs_90d",
            dtype=Float64,
            description="Mean hours until a ticket of the last 90 days was resolved; NULL without a ticket",
        ),
    ],
)


@on_demand_feature_view(
    name="value_for_money_odfv",
    description="US dollars for each hour watched, and hours watched on each device, computed when asked for",
    # Only what it computes with: an input that is NULL makes the result NULL.
    sources=[subs_profile_fv[["monthly_fee"]], usage_agg_30d_fv[["watch_hours_30d", "unique_devices_30d"]]],
    schema=[
        # Without descriptions: Feast 0.67 compares these with the ones it infers, which have none.
        Field(name="fee_per_watch_hour", dtype=Float64),
        Field(name="watch_hours_per_device", dtype=Float64),
    ],
    mode="python",
    owner=OWNER,
)
def value_for_money_odfv(inputs: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Ratios of the inputs; unknown where an input is unknown or there is nothing to divide by."""

    def ratio(numerator: float | None, denominator: float | None) -> float | None:
        return float(numerator) / denominator if numerator is not None and denominator else None

    return {
        "fee_per_watch_hour": [
            ratio(fee, hours) for fee, hours in zip(inputs["monthly_fee"], inputs["watch_hours_30d"], strict=True)
        ],
        "watch_hours_per_device": [
            ratio(hours, devices)
            for hours, devices in zip(inputs["watch_hours_30d"], inputs["unique_devices_30d"], strict=True)
        ],
    }


SNAPSHOT_VIEWS = [subs_profile_fv, usage_agg_30d_fv, payments_agg_90d_fv, support_agg_90d_fv]

churn_v1 = FeatureService(
    name="churn_v1",
    description="The 14 features of the churn model",
    owner=OWNER,
    features=list(SNAPSHOT_VIEWS),
    # The service that a call gets that names none; exactly one service says so.
    tags={"default": "true"},
)

churn_v2 = FeatureService(
    name="churn_v2",
    description="The 14 features of churn_v1 and what the fee buys",
    owner=OWNER,
    features=[*SNAPSHOT_VIEWS, value_for_money_odfv],
)

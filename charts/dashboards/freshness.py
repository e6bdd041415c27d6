"""How old is what is served, and for how many does it hold a value."""

from charts.dashboards.model import Dashboard, Panel, Query, Row
from charts.dashboards.panels import bars, graph, rising, table
from charts.dashboards.series import GATEWAY, ONE_ENTITY, REQUESTS, grown, newest, rate

VALUES = "feature_gateway_feature_values_total"
AGE = f"time() - {newest('feature_materialization_watermark_timestamp_seconds', GATEWAY, 'feature_view')}"
TTL = newest("feature_materialization_ttl_seconds", GATEWAY, "feature_view")
NO_VALUES = "no values served"
NO_VIEW = "nothing was materialized yet"
UNKNOWN = rate(REQUESTS, f'{ONE_ENTITY},code="404"')
ASKED = rate(REQUESTS, f'{ONE_ENTITY},code=~"200|404"')


def _share(number: int, status: str, title: str, description: str) -> Panel:
    some = rate(VALUES, f'{GATEWAY},status="{status}"', "feature_view")
    all_of_them = rate(VALUES, GATEWAY, "feature_view")
    # A status that no value ever had has no series, and is a share of 0.
    expr = f"({some} or 0 * {all_of_them}) / ({all_of_them} > 0)"
    query = Query(expr, "{{feature_view}}")
    return graph(number, title, description, "percentunit", query, nothing=NO_VALUES, width=8, max=1)


AGES = Row(
    100,
    "How old is what is served?",
    [
        bars(
            1,
            "How much of its ttl has each view used?",
            "The age of the watermark as a share of the view's ttl. From 1 on its values are served as null with "
            "status OUTSIDE_MAX_AGE: materialize a newer month before. With freshnessReference watermark ages are "
            "counted from the watermark, and this bar says nothing.",
            "percentunit",
            Query(f"({AGE}) / {TTL}", "{{feature_view}}"),
            limits=rising(0.8, 1),
            most=1,
            nothing=NO_VIEW,
        ),
        graph(
            2,
            "How old is each view?",
            "Now less the watermark, the instant that the online store shows. A saw tooth: it falls with each "
            "materialization of a newer month. Above its view's ttl it is too old to be served.",
            "s",
            Query(AGE, "{{feature_view}}"),
            Query(f"min({TTL})", "shortest ttl"),
            nothing=NO_VIEW,
        ),
    ],
)
COVERAGE = Row(
    101,
    "How many values are there?",
    [
        table(
            3,
            "What were the values that were served?",
            "Per view the share of its values with each status, over the time range. PRESENT: a value. NULL_VALUE: "
            "known to be null. NOT_FOUND: the entity has no row of this view. OUTSIDE_MAX_AGE: older than the ttl, "
            "so null.",
            "percentunit",
            f"{grown(VALUES, GATEWAY, 'feature_view, status')} / on (feature_view) group_left () "
            f"({grown(VALUES, GATEWAY, 'feature_view')} > 0)",
            transformations=[
                {
                    "id": "groupingToMatrix",
                    "options": {"columnField": "status", "rowField": "feature_view", "valueField": "Value"},
                }
            ],
            nothing=NO_VALUES,
            width=12,
            decimals=2,
        ),
        graph(
            4,
            "How many of those asked for are unknown?",
            "The share of reads of one entity that were answered with 404: no view has a row for it. A jump says "
            "that callers ask for new entities, or that a month came without some.",
            "percentunit",
            Query(f"({UNKNOWN} or vector(0)) / ({ASKED} > 0)", "unknown"),
            nothing="no reads",
            max=1,
        ),
        _share(
            5,
            "NOT_FOUND",
            "For how many has a view no row (NOT_FOUND)?",
            "A view that climbs alone lost rows in its last materialization; all at once are unknown entities.",
        ),
        _share(
            6,
            "NULL_VALUE",
            "How many values are null (NULL_VALUE)?",
            "Null as the export says. A step at a materialization is an export that changed.",
        ),
        _share(
            7,
            "OUTSIDE_MAX_AGE",
            "How many values are too old (OUTSIDE_MAX_AGE)?",
            "Anything above 0 is values that callers get as null because no newer month was materialized.",
        ),
    ],
)

DASHBOARD = Dashboard(
    "freshness",
    "Freshness and coverage",
    "How old is what is served, when does it become too old to be served, and how many values are there?",
    [AGES, COVERAGE],
    since="now-24h",
)

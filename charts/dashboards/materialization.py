"""Did the materializations run, how did they end, and what did they leave."""

from charts.dashboards.model import Dashboard, Query, Row
from charts.dashboards.panels import GREEN, ORANGE, RED, column, graph, meanings, rising, stat, steps, table, timeline
from charts.dashboards.series import GATEWAY, newest

HOUR, DAY = 3_600, 86_400
# What the job's exit codes say.
ENDINGS = {
    0: ("done", GREEN), 1: ("failed, retry may help", ORANGE), 2: ("wrong usage or settings", RED),
    3: ("bad data", RED),
}  # fmt: skip
NO_RUN = "no run yet"
NO_VIEW = "nothing was materialized yet"


def _run(name: str) -> str:
    return newest(f"feature_materialization_{name}", GATEWAY)


def _view(name: str) -> str:
    return newest(f"feature_materialization_{name}", GATEWAY, "feature_view")


ROWS, BEFORE = _view("rows"), _view("previous_rows")
COLUMNS = {
    "feature_view": "feature view", "Value #A": "watermark", "Value #B": "last success", "Value #C": "duration",
    "Value #D": "rows", "Value #E": "rows before", "Value #F": "change",
}  # fmt: skip
INSTANT = {"unit": "dateTimeAsIso"}

LAST_RUN = Row(
    100,
    "How did the last run end?",
    [
        stat(
            1,
            "How did the last run end?",
            "By its exit code. A run that found another at work is not counted. /status of the gateway and the Job's "
            "termination message say what happened.",
            "none",
            _run("last_run_exit_code"),
            nothing=NO_RUN,
            width=8,
            mappings=meanings(ENDINGS),
        ),
        stat(
            2,
            "How long ago did it end?",
            "Whatever its outcome. The schedule has a run each morning of a month's first ten days: then more than a "
            "day is a run that did not start.",
            "s",
            f"time() - {_run('last_run_finished_timestamp_seconds')}",
            nothing=NO_RUN,
            width=8,
            decimals=1,
        ),
        stat(
            3,
            "For how long has a run been at work?",
            "It is at work, or died without a word. Longer than materialization.activeDeadlineSeconds (6 hours) is a "
            "dead one: the next run mends what it left.",
            "s",
            f"time() - {_run('unfinished_run_started_timestamp_seconds')}",
            nothing="none is at work",
            limits=rising(HOUR, 6 * HOUR),
            width=8,
            decimals=1,
        ),
    ],
)
VIEWS = Row(
    101,
    "What does the online store hold?",
    [
        table(
            4,
            "What did each view's last success leave?",
            "Watermark: the instant that is shown. Rows before: at the watermark before this one; a large change is "
            "an export that lost customers, or gained some. A last success in 1970 is a view that is served and "
            "never had one.",
            "none",
            f"1000 * {_view('watermark_timestamp_seconds')}",
            f"1000 * {_view('last_success_timestamp_seconds')}",
            _view("duration_seconds"),
            ROWS,
            BEFORE,
            f"{ROWS} / ({BEFORE} > 0) - 1",
            transformations=[
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "renameByName": COLUMNS,
                        "indexByName": {name: place for place, name in enumerate(COLUMNS)},
                    },
                },
            ],
            overrides=[
                column("watermark", **INSTANT),
                column("last success", **INSTANT),
                column("duration", unit="s", decimals=1),
                column("change", unit="percentunit", decimals=1),
            ],
            nothing=NO_VIEW,
        ),
    ],
)
HISTORY = Row(
    102,
    "How was it over time?",
    [
        timeline(
            5,
            "How did the runs end?",
            "The outcome of the last run, over time; it changes colour when a run ends otherwise than the one before.",
            Query(_run("last_run_exit_code"), "last run"),
            ENDINGS,
            nothing=NO_RUN,
        ),
        graph(
            6,
            "How long is the last success ago?",
            'Per view. In a month without a newer snapshot a run says "nothing new", which is a success too: more '
            "than a month is a schedule that stands still.",
            "s",
            Query(f"time() - ({_view('last_success_timestamp_seconds')} > 0)", "{{feature_view}}"),
            nothing=NO_VIEW,
            limits=steps(GREEN, (32 * DAY, ORANGE)),
        ),
        graph(
            7,
            "How many rows are in the online store?",
            "Per view, as its last success left them. A fall is customers who left, or an export that is not whole.",
            "short",
            Query(ROWS, "{{feature_view}}"),
            nothing=NO_VIEW,
        ),
        graph(
            8,
            "How long do the runs take?",
            "Per view, the last success. It grows with the rows; a jump without more rows is a busy Postgres or Redis.",
            "s",
            Query(_view("duration_seconds"), "{{feature_view}}"),
            nothing=NO_VIEW,
        ),
    ],
)

DASHBOARD = Dashboard(
    "materialization",
    "Materialization",
    "Did the last runs succeed, when, how long did they take, and how many rows did they leave?",
    [LAST_RUN, VIEWS, HISTORY],
    since="now-30d",
)

"""What the online store holds for these tests: a plan, watermarks, runs, and customers of every kind."""

import redis
from feast.protos.feast.types.Value_pb2 import Int64List, Value

from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, PROFILE, USAGE

FILM = {"film": Value(int64_val=2**62 + 1)}
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def seed_everything(client: redis.Redis) -> None:
    """The plan of `gateway_support`, but `usage` is stale and `world` not materialized; four runs; customers."""
    plan = support.plan()
    plan["feature_views"]["profile"]["features"]["monthly_fee"]["description"] = "What is paid each month."
    support.publish(client, plan)
    support.fill(client, "profile", "pair")
    support.fill(client, "usage", watermark=NOW - 50 * DAY)
    support.show_runs(client, runs())
    support.write(client, "profile", support.user("u1"), PROFILE)
    support.write(client, "usage", support.user("u1"), USAGE, NOW - 50 * DAY)
    support.write(client, "profile", support.user("u1"), {"months_active": Value(int64_val=2**53 + 1)})
    support.write(client, "pair", support.user("u1") | FILM, {"score": Value(double_val=0.5)})


def runs() -> dict[str, object]:
    """Done, failed, held off by another, and at work; the newest last."""
    return {
        (NOW - 3 * DAY).isoformat(): {
            "finished_at": (NOW - 3 * DAY + DAY / 1440).isoformat(), "exit_code": 0, "summary": "done: 7 rows written",
        },
        (NOW - 2 * DAY).isoformat(): {"finished_at": (NOW - 2 * DAY).isoformat(), "exit_code": 3, "summary": None},
        (NOW - DAY).isoformat(): {"finished_at": (NOW - DAY).isoformat(), "exit_code": 75, "summary": None},
        (NOW - DAY / 1440).isoformat(): {},
    }  # fmt: skip


def numbers(*values: int) -> Value:
    return Value(int64_list_val=Int64List(val=values))

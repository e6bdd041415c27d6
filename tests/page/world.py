"""What the online store holds for these tests: a plan, watermarks, runs, and customers of every kind."""

import redis
from feast.protos.feast.types.Value_pb2 import Value

from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, PROFILE, USAGE

MINUTE = DAY / 1440
FILM = {"film": Value(int64_val=2**62 + 1)}


def seed_everything(client: redis.Redis) -> None:
    """The plan of `gateway_support`, but `usage` is stale and `world` never materialized; runs; `u1`, and `fresh`."""
    plan = support.plan()
    plan["feature_views"]["profile"]["features"]["monthly_fee"]["description"] = "What is paid each month."
    support.publish(client, plan)
    support.fill(client, "profile", "pair")
    support.fill(client, "usage", watermark=NOW - 50 * DAY)
    support.show_runs(client, runs())
    support.write(client, "profile", support.user("u1"), PROFILE)
    support.write(client, "usage", support.user("u1"), USAGE, NOW - 50 * DAY)
    support.write(client, "profile", support.user("fresh"), PROFILE)
    support.write(client, "usage", support.user("fresh"), USAGE)
    support.write(client, "pair", support.user("u1") | FILM, {"score": Value(double_val=0.5)})


def runs() -> dict[str, object]:
    """One that died, and one each that is done, failed, was held off, and is at work, which is the newest."""
    return {
        (NOW - 4 * DAY).isoformat(): {},
        (NOW - 3 * DAY).isoformat(): {
            "finished_at": (NOW - 3 * DAY + MINUTE).isoformat(), "exit_code": 0, "summary": "done: 7 rows written",
        },
        (NOW - 2 * DAY).isoformat(): {"finished_at": (NOW - 2 * DAY).isoformat(), "exit_code": 3, "summary": None},
        (NOW - DAY).isoformat(): {"finished_at": (NOW - DAY).isoformat(), "exit_code": 75, "summary": None},
        (NOW - MINUTE).isoformat(): {},
    }  # fmt: skip


def shown(instant: object) -> str:
    """An instant as the page writes it."""
    return str(instant)[:16]

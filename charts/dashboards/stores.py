"""Are the stores up, and how near are their limits."""

from charts.dashboards.model import Dashboard, Query, Row
from charts.dashboards.panels import GREEN, RED, bars, graph, meanings, rising, stat, steps
from charts.dashboards.series import POSTGRES, REDIS, rate

NO_REDIS, NO_POSTGRES = "no metrics of Redis' exporter", "no metrics of Postgres' exporter"
UP = meanings({1: ("up", GREEN), 0: ("down", RED)})
DATABASES = f'{POSTGRES},datname!~"template.*"'
CLAIMS = 'namespace="$namespace",persistentvolumeclaim=~"data-${release}-(postgres|redis)-0|${release}-training-sets"'
HITS, READ = (rate(f"pg_stat_database_blks_{kind}", DATABASES, "datname") for kind in ("hit", "read"))


def _up(store: str, labels: str) -> str:
    """1 or 0. An exporter that waits for a store that hangs tells nothing, also not that the store is down."""
    return f"min({store}_up{{{labels}}}) or min(up{{{labels}}})"


ONLINE = Row(
    100,
    "Redis, the online store",
    [
        stat(
            1,
            "Is Redis up?",
            "Whether its exporter reaches it, and answers itself. The gateways' own view is on Service level.",
            "none",
            _up("redis", REDIS),
            nothing=NO_REDIS,
            mappings=UP,
            width=3,
        ),
        stat(
            2,
            "Is what was written on disk?",
            "Whether the last write to the append-only file went well. Not, and a restart loses features until the "
            "next materialization.",
            "none",
            f"min(redis_aof_last_write_status{{{REDIS}}})",
            nothing=NO_REDIS,
            mappings=meanings({1: ("yes", GREEN), 0: ("no", RED)}),
            width=3,
        ),
        stat(
            3,
            "How many features were dropped?",
            "Keys evicted in the time range. Anything but 0 is features lost: maxmemory-policy must be noeviction.",
            "short",
            f"sum(increase(redis_evicted_keys_total{{{REDIS}}}[$__range]))",
            nothing=NO_REDIS,
            limits=steps(GREEN, (1, RED)),
            width=3,
            decimals=0,
        ),
        stat(
            4,
            "How many entities are there?",
            "Keys in Redis, a few of them the platform's own.",
            "short",
            f"sum(redis_db_keys{{{REDIS}}})",
            nothing=NO_REDIS,
            width=3,
        ),
        bars(
            5,
            "How much of its memory does Redis use?",
            "Of maxmemory (redis.maxMemory). Full, it refuses to write, and the materialization fails; reads go on. "
            "Without a maxmemory there is no bar.",
            "percentunit",
            Query(f"redis_memory_used_bytes{{{REDIS}}} / (redis_memory_max_bytes{{{REDIS}}} > 0)", "{{instance}}"),
            limits=rising(0.75, 0.9),
            most=1,
            nothing="no maxmemory, or no metrics of Redis' exporter",
            height=5,
        ),
        graph(
            6,
            "How does its memory grow?",
            "Used, and the most it may use. Each materialization of new customers adds a step; leavers go.",
            "bytes",
            Query(f"redis_memory_used_bytes{{{REDIS}}}", "used"),
            Query(f"redis_memory_max_bytes{{{REDIS}}} > 0", "maxmemory"),
            nothing=NO_REDIS,
            width=8,
        ),
        graph(
            7,
            "What is Redis asked?",
            "Commands a second. hmget are reads of the gateway; hset and hdel a materialization at work; anything "
            "else in numbers is somebody who should not be there.",
            "ops",
            Query(rate("redis_commands_total", REDIS, "cmd") + " > 0", "{{cmd}}"),
            nothing=NO_REDIS,
            width=8,
            stacked=True,
        ),
        graph(
            8,
            "How many connections has it?",
            "Clients connected, and connections refused because there were too many. A gateway has a handful.",
            "short",
            Query(f"redis_connected_clients{{{REDIS}}}", "connected"),
            Query(rate("redis_rejected_connections_total", REDIS), "refused a second"),
            nothing=NO_REDIS,
            width=8,
        ),
    ],
)
OFFLINE = Row(
    101,
    "Postgres, the offline store",
    [
        stat(
            9,
            "Is Postgres up?",
            "Whether its exporter reaches it, and answers itself. Down, the gateway serves on; materializations and "
            "training sets wait.",
            "none",
            _up("pg", POSTGRES),
            nothing=NO_POSTGRES,
            mappings=UP,
            width=4,
            height=8,
        ),
        bars(
            10,
            "How many of its connections are used?",
            "Of max_connections. Full, jobs fail with exit 1 and are tried again.",
            "percentunit",
            Query(
                f"sum(pg_stat_database_numbackends{{{POSTGRES}}}) / max(pg_settings_max_connections{{{POSTGRES}}})",
                "used",
            ),
            limits=rising(0.7, 0.9),
            most=1,
            nothing=NO_POSTGRES,
            width=8,
        ),
        graph(
            11,
            "How large are the databases?",
            "Snapshots are never overwritten: it grows with every month and every correction.",
            "bytes",
            Query(f"pg_database_size_bytes{{{DATABASES}}}", "{{datname}}"),
            nothing=NO_POSTGRES,
        ),
        graph(
            12,
            "How much comes from its cache?",
            "Blocks that were found in shared buffers, of all that were read. Below 0.9 for long while jobs run: "
            "more shared_buffers (postgres.parameters) and memory.",
            "percentunit",
            Query(f"{HITS} / ({HITS} + {READ} > 0)", "{{datname}}"),
            nothing="nobody reads, or no metrics of Postgres' exporter",
            max=1,
        ),
        graph(
            13,
            "Who is connected?",
            "Connections by database. A run takes a handful and gives them back.",
            "short",
            Query(f"sum by (datname) (pg_stat_database_numbackends{{{DATABASES}}})", "{{datname}}"),
            nothing=NO_POSTGRES,
            decimals=0,
        ),
    ],
)
VOLUMES = Row(
    102,
    "Volumes (where the cluster's Prometheus reads the kubelets)",
    [
        bars(
            14,
            "How full are the volumes?",
            "Redis' may hold twice its maxmemory while it rewrites its file; Postgres that finds no room stops.",
            "percentunit",
            Query(
                f"max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{{{CLAIMS}}} / "
                f"kubelet_volume_stats_capacity_bytes{{{CLAIMS}}})",
                "{{persistentvolumeclaim}}",
            ),
            limits=rising(0.75, 0.9),
            most=1,
            nothing="no metrics of the kubelets",
        ),
        graph(
            15,
            "How do the volumes fill?",
            "Used bytes of each.",
            "bytes",
            Query(
                f"max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{{{CLAIMS}}})",
                "{{persistentvolumeclaim}}",
            ),
            nothing="no metrics of the kubelets",
        ),
    ],
    folded=True,
)

DASHBOARD = Dashboard(
    "stores",
    "Stores",
    "Are Redis and Postgres up, and how near are they to their limits?",
    [ONLINE, OFFLINE, VOLUMES],
)

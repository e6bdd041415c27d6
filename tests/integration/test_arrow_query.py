"""Sessions that several threads have on one database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_manager
import pytest

from jobs import arrow_query, postgres

THREADS, SESSIONS = 8, 5


@pytest.mark.usefixtures("database")
def test_sessions_are_opened_and_closed_one_at_a_time_for_the_driver_counts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, overlaps = threading.Lock(), list[str]()

    class Watched(adbc_driver_manager.AdbcConnection):
        def __init__(self, database: adbc_driver_manager.AdbcDatabase) -> None:
            is_alone = busy.acquire(blocking=False)
            super().__init__(database)
            _end("opened", is_alone=is_alone)

        def close(self) -> None:
            is_alone = busy.acquire(blocking=False)
            super().close()
            _end("closed", is_alone=is_alone)

    def _end(what: str, *, is_alone: bool) -> None:
        if is_alone:
            busy.release()
        else:
            overlaps.append(what)

    def work(_number: int) -> None:
        for _ in range(SESSIONS):
            with database.session() as session:
                (batch,) = session.batches("SELECT 1::bigint AS one")
                assert batch.to_pydict() == {"one": [1]}

    monkeypatch.setattr(adbc_driver_manager, "AdbcConnection", Watched)
    with arrow_query.arrow_database(postgres.conninfo("test")) as database, ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert overlaps == []

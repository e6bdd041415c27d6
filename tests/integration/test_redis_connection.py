"""One pipelined connection: every reply reaches the caller it belongs to, and every caller is answered in time."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
import redis

from api.redis_connection import Connection, ConnectionLost, command, connect
from jobs.local.servers import RedisServer
from jobs.process import LOOPBACK

Lost = list[Exception]


@asynccontextmanager
async def connected(server: RedisServer, lost: Lost) -> AsyncIterator[Connection]:
    greeting = [command("AUTH", server.password), command("SELECT", 0)]
    connection = await connect(server.host, server.port, None, greeting, lost.append)
    yield connection
    connection.close()


def run(server: RedisServer, test: Callable[[Connection, Lost], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        lost: Lost = []
        async with connected(server, lost) as connection:
            await test(connection, lost)

    asyncio.run(main())


def test_replies_come_to_those_who_asked_whoever_else_was_cancelled_meanwhile(redis_server: RedisServer) -> None:
    generator = random.Random(1)

    async def ask(connection: Connection, number: int) -> None:
        if number % 3:
            assert await connection.send(command("ECHO", number)) == str(number).encode()
        else:
            both = command("ECHO", number) + command("ECHO", -number)
            assert await connection.send(both, 2) == [str(number).encode(), str(-number).encode()]

    async def test(connection: Connection, lost: Lost) -> None:
        tasks = [asyncio.ensure_future(ask(connection, number)) for number in range(3_000)]
        for task in generator.sample(tasks, 1_000):
            await asyncio.sleep(0)
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in ended} == {type(None), asyncio.CancelledError}
        assert connection.outstanding == 0
        assert lost == []

    run(redis_server, test)


def test_a_refusal_is_a_reply_and_the_next_one_is_right(redis_server: RedisServer) -> None:
    async def test(connection: Connection, lost: Lost) -> None:
        refusal, reply = await connection.send(command("NO-SUCH-COMMAND") + command("ECHO", "x"), 2)
        assert isinstance(refusal, hiredis.ReplyError)
        assert (reply, lost) == (b"x", [])

    run(redis_server, test)


def test_a_redis_that_does_not_answer_fails_everything_that_waits_and_ends_the_connection(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    async def test(connection: Connection, lost: Lost) -> None:
        redis_client.execute_command("CLIENT", "PAUSE", 2_000, "ALL")
        ended = await asyncio.gather(
            *(connection.send(command("ECHO", number)) for number in range(10)), return_exceptions=True
        )
        assert {type(one) for one in ended} == {ConnectionLost}
        assert "no answer within 250 ms" in str(ended[0])
        assert [type(error) for error in lost] == [TimeoutError]
        with pytest.raises(ConnectionLost):
            await connection.send(command("ECHO", 1))

    run(redis_server, test)


def test_a_connection_that_redis_closes_is_lost_once(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    async def test(connection: Connection, lost: Lost) -> None:
        number = await connection.send(command("CLIENT", "ID"))
        redis_client.execute_command("CLIENT", "KILL", "ID", number)
        while not lost:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionLost):
            await connection.send(command("ECHO", 1))
        assert len(lost) == 1

    run(redis_server, test)


def test_a_wrong_password_is_said_and_nothing_is_left_open(redis_server: RedisServer) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionLost, match="WRONGPASS"):
            await connect(redis_server.host, redis_server.port, None, [command("AUTH", "x")], lambda _: None)

    asyncio.run(main())


def test_what_is_no_redis_is_given_up() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = await connect(LOOPBACK, port, None, [], lambda _: None)
            with pytest.raises(ConnectionLost, match="no Redis"):
                await connection.send(command("PING"))

    asyncio.run(main())


def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"+ONE\r\n+TWO\r\n")

        lost: Lost = []
        async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = await connect(LOOPBACK, port, None, [], lost.append)
            assert await connection.send(command("PING")) == b"ONE"
            with pytest.raises(ConnectionLost):
                await connection.send(command("PING"))
        assert len(lost) == 1

    asyncio.run(main())


def test_a_connection_that_was_given_up_before_it_was_let_in_is_closed_also_when_it_is_let_in_later() -> None:
    async def main() -> None:
        asked, given_up, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"AUTH")
            asked.set()
            await given_up.wait()
            writer.write(b"+OK\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            closed.set()

        async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            connecting = asyncio.create_task(connect(LOOPBACK, port, None, [command("AUTH", "x")], lambda _: None))
            await asked.wait()
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            given_up.set()
            await asyncio.wait_for(closed.wait(), 5)

    asyncio.run(main())

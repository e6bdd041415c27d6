"""How the head of an answer and its body come to the connection."""

import asyncio

from api.head_with_body import HeadWithBody

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


class Wire(asyncio.Transport):
    """What is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"closed")


def test_head_and_body_are_one_write() -> None:
    answer = HeadWithBody(wire := Wire())
    answer.write(HEAD)
    assert wire.pieces == []
    answer.write(BODY)
    answer.write(BODY)
    assert wire.pieces == [HEAD + BODY, BODY]


def test_an_empty_body_sends_the_head() -> None:
    answer = HeadWithBody(wire := Wire())
    answer.write(HEAD)
    answer.write(b"")
    assert wire.pieces == [HEAD]


def test_leave_to_send_a_body_does_not_wait_for_the_head() -> None:
    answer = HeadWithBody(wire := Wire())
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    answer.write(HEAD)
    answer.write(BODY)
    assert wire.pieces == [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + BODY]


def test_a_connection_that_is_closed_without_a_body_has_had_the_head() -> None:
    answer = HeadWithBody(wire := Wire())
    answer.write(HEAD)
    answer.close()
    assert wire.pieces == [HEAD, b"closed"]

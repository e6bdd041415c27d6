"""Progress of long work: log lines where nobody watches, a bar where somebody does."""

from typing import Any

import pytest

from jobs import progress
from jobs.progress import Progress


@pytest.fixture
def lines() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def every_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log at each advance instead of every few seconds."""
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)


def shown(total: int | None, lines: list[tuple[str, dict[str, Any]]], *, terminal: bool = False) -> Progress:
    return Progress(total, "rows", "filling", terminal=terminal, log=lambda event, **data: lines.append((event, data)))


@pytest.mark.usefixtures("every_advance")
def test_a_log_line_says_how_far_how_fast_and_how_long_still(lines: list[tuple[str, dict[str, Any]]]) -> None:
    with shown(10, lines) as step:
        step.advance(4)
        step.advance(6)
    (event, first), (_, last) = lines
    assert event == "progress"
    assert {key: first[key] for key in ("step", "unit", "done", "total")} == {
        "step": "filling", "unit": "rows", "done": 4, "total": 10,
    }  # fmt: skip
    assert first["per_second"] > 0
    assert (last["done"], last["seconds_left"]) == (10, 0)


@pytest.mark.usefixtures("every_advance")
def test_an_unknown_total_is_not_guessed(lines: list[tuple[str, dict[str, Any]]]) -> None:
    with shown(None, lines) as step:
        step.advance(4)
    assert not {"total", "seconds_left"} & lines[0][1].keys()


@pytest.mark.usefixtures("every_advance")
def test_a_total_that_was_estimated_too_small_is_told_no_more(lines: list[tuple[str, dict[str, Any]]]) -> None:
    with shown(5, lines) as step:
        step.advance(4)
        step.advance(4)
    assert [fields.get("total") for _, fields in lines] == [5, None]
    assert "seconds_left" not in lines[1][1]


def test_short_work_writes_no_log_line(lines: list[tuple[str, dict[str, Any]]]) -> None:
    with shown(2, lines) as step:
        step.advance(2)
    assert lines == []


@pytest.mark.usefixtures("every_advance")
def test_a_terminal_gets_a_bar_and_no_log_line(
    lines: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with shown(10, lines, terminal=True) as step:
        step.advance(10)
    assert lines == []
    assert "filling" in capsys.readouterr().err

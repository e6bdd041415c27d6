"""What is wrong with a repository, collected object by object, so that one run names all of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol, TypeVar

from jobs.errors import UsageError

SENTENCE_LETTERS = 600
SUMMARY_BYTES = 3000
"""So much of a termination message, of which Kubernetes keeps 4096 bytes, the summary of several findings takes."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: of which kind of object, its name, and one sentence that says what and what is right."""

    kind: str
    name: str
    sentence: str


class Named(Protocol):
    """An object of a repository."""

    name: str


Given = TypeVar("Given", bound=Named)
Made = TypeVar("Made")


class RefusedError(UsageError):
    """A repository is refused; says the findings in one line: all of one, or how many and the first ones of several."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(_summary([_one_line(finding.sentence) for finding in findings]))


class Findings:
    """Collects findings, each sentence once."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def add(self, kind: str, name: str, sentence: str) -> None:
        """Note that the object `name` of this kind is wrong."""
        self._found.setdefault(sentence, Finding(kind, name, sentence))

    @contextmanager
    def of(self, kind: str, name: str) -> Iterator[None]:
        """Within, a UsageError is a finding about this object, and what follows goes on."""
        try:
            yield
        except RefusedError as error:
            for finding in error.findings:
                self.add(finding.kind, finding.name, finding.sentence)
        except UsageError as error:
            self.add(kind, name, str(error))

    def each(self, kind: str, make: Callable[[Given], Made], things: Iterable[Given]) -> tuple[Made, ...]:
        """What `make` makes of each object, by name; without those of which it raises UsageError: they are findings."""
        made = []
        for thing in sorted(things, key=attrgetter("name")):
            with self.of(kind, thing.name):
                made.append(make(thing))
        return tuple(made)

    def names(self, kind: str) -> set[str]:
        """The names of the objects of this kind that were found wrong."""
        return {finding.name for finding in self if finding.kind == kind}

    def raise_any(self) -> None:
        """Raise RefusedError when anything was found."""
        if self._found:
            raise RefusedError(list(self))


def _one_line(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= SENTENCE_LETTERS else f"{line[: SENTENCE_LETTERS - 3]}..."


def _summary(sentences: Sequence[str]) -> str:
    if len(sentences) == 1:
        return sentences[0]
    told, size = [], 0
    for number, sentence in enumerate(sentences, start=1):
        told.append(f"({number}) {sentence}")
        size += len(told[-1].encode())
        if size > SUMMARY_BYTES:
            told.pop()
            break
    left = len(sentences) - len(told)
    rest = f"; and {left} more, which the log names" if left else ""
    return f"{len(sentences)} findings: {'; '.join(told)}{rest}"

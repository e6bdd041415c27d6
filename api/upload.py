"""The body of a request while it comes: the connection counts it, and tells the call that reads it of a refusal."""

from collections.abc import Callable

from api.memory_share import Budget, Share
from api.problems import Overloaded, Problem

UPLOAD = "api.upload"
"""Where in its scope a request has its Upload; without one nothing is counted."""
ALWAYS_READ = 64 * 1024
"""A body of up to so many bytes takes nothing of what all share."""


class Upload(Share):
    """One request's body, as what is held of it."""

    __slots__ = ("_received", "_wake", "refusal")

    def __init__(self, budget: Budget, own: int, wake: Callable[[], None]) -> None:
        """`own` bytes of it are always taken; `wake` rouses the call that waits for the body."""
        super().__init__(budget, own)
        self._wake, self._received = wake, 0
        self.refusal: Problem | None = None
        """Why no more of it is taken."""

    def take(self, count: int) -> bool:
        """Whether so many bytes more are to be kept."""
        if self.refusal is None and not self.hold(self._received + count):
            self.refuse(Overloaded("The gateway holds as many large bodies as it may; try again."))
        self._received += count
        return self.refusal is None

    def refuse(self, problem: Problem) -> None:
        """Have the request answered with the problem, if it still waits for its body."""
        self.refusal = self.refusal or problem
        self._wake()

    def end(self) -> None:
        """The request is answered, or given up: nothing of its body is held any more."""
        super().end()
        self.refusal = None  # raised, it holds the frames that hold the body

"""The closed set of errors by which a job ends; each is one clear sentence and one exit code."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_DATA = 3
EXIT_LOCK_HELD = 75


class JobError(Exception):
    """The job failed and a retry may help (exit 1)."""

    exit_code = EXIT_FAILED


class UsageError(JobError):
    """A flag, a setting or a definition is wrong (exit 2)."""

    exit_code = EXIT_USAGE


class DataError(JobError):
    """The data is wrong, or more than there is room for, and a retry will not help (exit 3)."""

    exit_code = EXIT_BAD_DATA


class LockHeldError(JobError):
    """Another writer holds the lock (exit 75, EX_TEMPFAIL of sysexits.h)."""

    exit_code = EXIT_LOCK_HELD


class LockLostError(JobError):
    """The connection that held the writer lock is gone: nothing more may be written (exit 1)."""


class VerificationError(JobError):
    """What was written is not what should have been written (exit 1)."""

"""Where a training set is put: a folder of this machine, or one at a URL that fsspec can write to."""

from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from jobs.training.files import WriteFiles
from jobs.training.folder import FolderOutput
from jobs.training.remote import RemoteOutput

_HERE = ("file", "local")


class Output(Protocol):
    """A place for a training set; as text it is how the user named it."""

    def check(self) -> None:
        """Raises UsageError when a training set cannot be put there, or would replace more than one."""

    def put(self, write: WriteFiles) -> None:
        """Put what `write` writes there, verified. Raises JobError; no reader ever takes a part for a whole set."""


def parse_output(text: str) -> Output:
    """A path or a URL. Raises ValueError, without the text, for a URL that no set can be put at."""
    if "://" not in text:
        return FolderOutput(Path(text))
    scheme, _, rest = text.partition("://")
    if scheme in _HERE:
        if not rest.startswith("/"):
            raise ValueError(f"a {scheme} URL names an absolute path, as in {scheme}:///sets/churn")
        return FolderOutput(Path(rest))
    if "::" in text or any(letter in rest for letter in "*?[]#"):
        raise ValueError("a URL names one folder: no chain (::), no pattern (* ? [ ]), no fragment (#)")
    if urlsplit(text).password is not None:
        raise ValueError(
            "a URL must not hold a password, which would be in the ledger and in the log; give it by fsspec's own "
            f"FSSPEC_{scheme.upper()}_PASSWORD, or in a file of FSSPEC_CONFIG_DIR"
        )
    return RemoteOutput(text)

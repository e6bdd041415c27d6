"""`feast` with the arguments given, whose server leaves to the garbage collector only what requests make."""

import gc
import os

from feast.cli.cli import cli


def _freeze() -> None:
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


os.register_at_fork(after_in_child=_freeze)
cli()

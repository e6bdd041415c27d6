"""Child processes that never outlive their parent, on ports that nobody else has."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def free_port() -> int:
    """A loopback TCP port that is free now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom a server runs as: None (as ourselves), or `nobody` where we are root, as Postgres refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def end_with_parent(parent: int) -> None:
    """From now on the kernel ends this process when `parent`, which started it, ends in whatever way (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it is gone already
            os._exit(1)


def reachable_copy(folder: Path, program: Path, user: pwd.struct_passwd | None) -> Path:
    """`program` (somewhere below `folder`) at a path that `user` can reach; a copy in /tmp if need be.

    The copy stays there for the next time: it is named by the folder it was made from.
    """
    if user is None or all(parent.stat().st_mode & 0o001 for parent in program.resolve().parents):
        return program
    copy = Path("/tmp") / f"feature-platform-{user.pw_name}" / str(folder.resolve()).strip("/").replace("/", "-")  # noqa: S108
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(folder, unfinished)
        for parent in (copy.parent, unfinished):
            parent.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return copy / program.relative_to(folder)


def start_child(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: pwd.struct_passwd | None = None,
    working_directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `log`; on Linux the kernel ends it when this process dies, however it dies."""
    parent = os.getpid()

    def before_exec() -> None:
        if user is not None:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        end_with_parent(parent)  # after setuid, which clears it

    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else None,
            cwd=working_directory,
            preexec_fn=before_exec,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its children in order
        )


def stop_child(child: subprocess.Popen[bytes], number: int = signal.SIGTERM, grace_seconds: float = 10.0) -> None:
    """End `child` by signal `number`, by force after the grace. Safe to repeat."""
    if child.poll() is not None:
        return
    child.send_signal(number)
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def wait_until(ready: Callable[[], bool], child: subprocess.Popen[bytes], what: str, log: Path, seconds: float) -> None:
    """Return once `ready()`; raises RuntimeError with the end of the log when `child` ends first or time runs out."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None or time.monotonic() > deadline:
            state = f"ended with {child.returncode}" if child.poll() is not None else f"was not ready in {seconds:g} s"
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{what} {state}; the end of {log}:\n{tail}")
        time.sleep(0.02)

"""Real file servers on loopback, started from the rclone program that is among the developers' packages."""

import os
import secrets
import socket
import subprocess
import sysconfig
from pathlib import Path

from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until

START_SECONDS = 20.0
RCLONE = Path(sysconfig.get_path("scripts")) / "rclone"


class FileServer:
    """`rclone serve KIND` over a folder; what is in the folder is what the server holds."""

    kind = ""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.port, self.user, self.password = free_port(), "trainer", secrets.token_hex(8)
        log = folder / "log"
        # Nothing of a configuration that the user may have; changes made in the folder are seen at once.
        command: list[str | Path] = [
            RCLONE,
            "--config",
            os.devnull,
            "serve",
            self.kind,
            "--addr",
            f"{LOOPBACK}:{self.port}",
        ]
        self.process: subprocess.Popen[bytes] = start_child(
            [*command, "--dir-cache-time", "1ms", *self._login(), *flags, self.root], log=log
        )
        wait_until(self._answers, self.process, f"rclone serve {self.kind}", log, START_SECONDS)

    def stop(self) -> None:
        """End the server."""
        stop_child(self.process)

    def _login(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0


class FtpServer(FileServer):
    """An FTP server."""

    kind = "ftp"

    def url(self, path: str) -> str:
        """The URL of a path on this server."""
        return f"ftp://{LOOPBACK}:{self.port}/{path}"

    def _login(self) -> list[str]:
        return ["--user", self.user, "--pass", self.password]


class S3Server(FileServer):
    """An S3 server; the folders in its root are its buckets."""

    kind = "s3"

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def _login(self) -> list[str]:
        return ["--auth-key", f"{self.user},{self.password}"]

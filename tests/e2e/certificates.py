"""A certificate authority that lives as long as a test, and what it signs. Needs `openssl` on PATH."""

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.commands import run

DAYS = "2"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# Python 3.13 believes no authority that does not say all of this.
AUTHORITY = """
[req]
distinguished_name = name
x509_extensions = extensions
[name]
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
SERVER = """
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:{host}
"""


@dataclass(frozen=True)
class Certificate:
    """PEM texts."""

    certificate: str
    key: str


class Authority:
    """Keeps its key in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "ca.cnf").write_text(AUTHORITY)
        names = ("-subj", "/CN=authority of a test", "-days", DAYS, "-keyout", "ca.key", "-out", "ca.crt")
        self._openssl("req", "-x509", "-config", "ca.cnf", *KEY, *names)
        self.certificate = (folder / "ca.crt").read_text()

    def certificate_for(self, host: str) -> Certificate:
        """For a server that is reached under this name alone."""
        (self._folder / "server.ext").write_text(SERVER.format(host=host))
        names = ("-subj", "/CN=a server of a test", "-keyout", "server.key", "-out", "server.csr")
        self._openssl("req", "-new", "-config", "ca.cnf", *KEY, *names)
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS, "-extfile", "server.ext")
        self._openssl("x509", "-req", "-in", "server.csr", *signer, "-out", "server.crt")
        return Certificate(*((self._folder / name).read_text() for name in ("server.crt", "server.key")))

    def _openssl(self, *arguments: str) -> None:
        run("openssl", *arguments, folder=self._folder)

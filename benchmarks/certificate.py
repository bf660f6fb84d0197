"""A certificate of the day for 127.0.0.1, of an authority of its own: some clients trust no server's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["certify"]

_EXTENSIONS = """subjectAltName=IP:127.0.0.1
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
"""


def certify(folder: Path) -> Path:
    """Makes `key.pem` and `certificate.pem` in `folder`; returns the file of the authority that is to be trusted.

    Raises:
        SystemExit: there is no openssl, or it makes none.
    """
    binary = shutil.which("openssl")
    if binary is None:
        raise SystemExit("benchmarks: there is no openssl here, and TLS needs a certificate")
    (folder / "extensions").write_text(_EXTENSIONS)
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split()
    authority = "-days 2 -subj /CN=benchmarks -addext keyUsage=critical,keyCertSign -keyout ca-key.pem -out ca.pem"
    for command in (
        ["req", "-x509", *key, *authority.split()],
        ["req", *key, *"-subj /CN=127.0.0.1 -keyout key.pem -out request.pem".split()],
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2".split()
        + "-extfile extensions -out certificate.pem".split(),
    ):
        result = subprocess.run([binary, *command], cwd=folder, check=False, capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"benchmarks: openssl made no certificate\n{result.stderr}")
    return folder / "ca.pem"

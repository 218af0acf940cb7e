"""docs/nginx.conf does what it says: Debian's nginx runs that very file in front of a server, with other ports."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.running import free_port, until

if TYPE_CHECKING:
    from tests.running import RunningServer

EXAMPLE = (Path(__file__).parents[2] / "docs" / "nginx.conf").read_text()
NGINX = "/usr/sbin/nginx"
MIB = 1 << 20
AROUND = """
daemon off;
user root;
pid {0}/nginx.pid;
error_log {0}/error.log warn;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {0}/temp/body;
    proxy_temp_path {0}/temp/proxy;
    fastcgi_temp_path {0}/temp/fastcgi;
    uwsgi_temp_path {0}/temp/uwsgi;
    scgi_temp_path {0}/temp/scgi;
    include {0}/airlock.conf;
}}
"""
PRINTS = "import time\nprint('begun', flush=True)\ntime.sleep(20)\ndef azureml_main(): pass"


@dataclass
class Proxy:
    """nginx, and a client's hands to reach the server through it."""

    directory: Path
    secure_port: int
    plain_port: int
    process: subprocess.Popen[bytes]
    key: str

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | kwargs.pop("headers", {})
        certificate = str(self.directory / "certificate.pem")
        url = f"https://localhost:{self.secure_port}{path}"
        return requests.request(method, url, headers=headers, verify=certificate, timeout=120, **kwargs)

    def log(self) -> str:
        return (self.directory / "error.log").read_text()

    def open_files(self) -> set[str]:
        """What its processes hold open below its directory for temporary files, deleted or not."""
        found = set()
        for pid in self._pids():
            for link in Path(f"/proc/{pid}/fd").glob("*"):
                try:
                    target = os.readlink(link)
                except OSError:
                    continue
                if target.startswith(str(self.directory / "temp")):
                    found.add(target)
        return found

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


def write_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@contextmanager
def nginx(server: RunningServer, directory: Path, **changes: str) -> Iterator[Proxy]:
    """The example, with the ports, names and paths that an operator puts in, and these further changes."""
    (directory / "temp").mkdir()
    write_certificate(directory)
    secure, plain = free_port(), free_port()
    text = EXAMPLE
    for old, new in {
        "127.0.0.1:8750": server.url.removeprefix("http://"),
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{secure} ssl http2;",
        "airlock.example": "localhost",
        "/etc/ssl/airlock/fullchain.pem": f"{directory}/certificate.pem",
        "/etc/ssl/airlock/privkey.pem": f"{directory}/key.pem",
        **changes,
    }.items():
        assert old in text
        text = text.replace(old, new)
    (directory / "airlock.conf").write_text(text)
    (directory / "nginx.conf").write_text(AROUND.format(directory))
    process = subprocess.Popen([NGINX, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")])
    proxy = Proxy(directory, secure, plain, process, server.key)
    try:
        assert until(lambda: process.poll() is None and answers(proxy), 20), proxy.log()
        yield proxy
    finally:
        process.terminate()
        process.wait(20)


def answers(proxy: Proxy) -> bool:
    try:
        return proxy.request("GET", "/healthz").status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture
def proxy(server: RunningServer, tmp_path: Path) -> Iterator[Proxy]:
    with nginx(server, tmp_path) as running:
        yield running


@contextmanager
def watched(proxy: Proxy) -> Iterator[set[str]]:
    """The temporary files that nginx has while this block is at work."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            seen.update(proxy.open_files())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def pieces(count: int) -> Iterator[bytes]:
    """So many mebibytes of CSV."""
    yield b"text\n"
    for _ in range(count):
        yield (b"x" * 1023 + b"\n") * 1024


def test_a_hundred_mebibytes_go_through_without_touching_its_disk(proxy: Proxy) -> None:
    """Up as they are sent, down as they are read: no temporary file, and no warning of one."""
    with watched(proxy) as files:
        put = proxy.request(
            "PUT", "/v1/datasets/large?wait=100", data=pieces(100), headers={"Content-Type": "text/csv"}
        )
        assert put.json()["status"] == "ready", put.text
        got = proxy.request("GET", "/v1/datasets/large/data", stream=True)
        received = 0
        for piece in got.iter_content(MIB):
            received += len(piece)
            time.sleep(0.005)  # slower than the server: a proxy that collects would have to put it somewhere
        deleted = proxy.request("DELETE", "/v1/datasets/large")

    assert put.json()["source_bytes"] == 100 * MIB + 5
    assert received > 100 * MIB
    assert files == set()
    assert "temporary file" not in proxy.log()
    assert deleted.status_code == 204


def test_without_that_line_of_the_example_it_would_not_stream(server: RunningServer, tmp_path: Path) -> None:
    """The same look at a proxy that buffers finds its file: the test above can fail."""
    with nginx(server, tmp_path, **{"proxy_request_buffering off;": ""}) as proxy:
        proxy.request("PUT", "/v1/datasets/small", data=pieces(4), headers={"Content-Type": "text/csv"})
        log = proxy.log()

    assert "buffered to a temporary file" in log


def test_a_followed_log_arrives_line_by_line(server: RunningServer, proxy: Proxy) -> None:
    """While the script still runs."""
    run = proxy.request("POST", "/v1/runs", files={"script": PRINTS}).json()
    began = time.monotonic()

    with proxy.request("GET", f"/v1/runs/{run['id']}/log?follow=1", stream=True) as log:
        line = next(log.iter_lines())
        status = server.get(f"/v1/runs/{run['id']}").json()["status"]

    server.post(f"/v1/runs/{run['id']}/cancel")
    assert line == b"begun"
    assert status == "running"
    assert time.monotonic() - began < 20


def test_what_strangers_see_of_it(proxy: Proxy) -> None:
    """The plain port sends them to the secure one; headers stay, one comes along; metrics are for the inside."""
    plain = requests.get(f"http://localhost:{proxy.plain_port}/v1/runs?limit=1", allow_redirects=False, timeout=10)
    answer = proxy.request("GET", "/healthz")

    assert (plain.status_code, plain.headers["Location"]) == (308, "https://localhost/v1/runs?limit=1")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert re.fullmatch("nginx", answer.headers["Server"])
    assert proxy.request("GET", "/metrics").status_code == 404


def test_one_address_cannot_ask_without_end(proxy: Proxy) -> None:
    """After a burst it is told to slow down."""
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(proxy.directory / "certificate.pem")
        address = f"https://localhost:{proxy.secure_port}/healthz"
        statuses = [session.get(address, timeout=10).status_code for _ in range(400)]

    assert statuses[:50] == [200] * 50
    assert 429 in statuses
    assert set(statuses) == {200, 429}

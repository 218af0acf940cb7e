"""Offer stand-ins for as long as an image is built.

    python -m dev.stand_in sandbox_image --wanted base --wanted channel [--always] [--builder buildah]

Tries the base image that the Dockerfile names and the channels in environment.yml. Prints one line of JSON: for
each of them null when it answers (or is not wanted), else what to use instead. Then serves the stand-in channel
on loopback until its standard input ends. What it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import errno
import functools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from dev.stand_in import apt, base, channel, probe


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a build makes hundreds of requests."""


def say(line: str) -> None:
    """One line about what is going on."""
    print(f"stand-in: {line}", file=sys.stderr, flush=True)


def needs_base(dockerfile: Path, builder: str) -> bool:
    """Whether the Dockerfile's base image cannot be had."""
    named = re.search(r"^ARG BASE_IMAGE=(\S+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    if not named:
        raise ValueError(f"{dockerfile}: no line `ARG BASE_IMAGE=...`")
    if reason := probe.why_no_image(named[1], builder):
        say(f"{named[1]} does not answer ({reason}); Debian's packages take its place")
    return bool(reason)


def needs_channel(environment: Path) -> bool:
    """Whether one of the channels in environment.yml cannot be had."""
    for name in yaml.safe_load(environment.read_text(encoding="utf-8"))["channels"]:
        if reason := probe.why_no_channel(name):
            say(f"{name} does not answer ({reason}); PyPI's and Debian's packages take its place")
            return True
    return False


def make_missing(wants_base: bool, environment: Path | None, installer: Path, builder: str) -> None:
    """Make what is not there yet, both at once; `environment` is None when no channel is wanted."""
    makes_base = wants_base and not base.is_here(builder)
    makes_channel = environment is not None and not channel.folder_of(environment, installer).is_dir()
    if makes_base or makes_channel:
        apt.prepare(*(["mmdebstrap"] if makes_base else []))
    start = time.monotonic()
    with ThreadPoolExecutor() as executor:
        making = [executor.submit(base.make, builder)] if makes_base else []
        if environment is not None:
            making.append(executor.submit(channel.find_or_make, environment, installer))
        for future in making:
            future.result()
    if makes_base or makes_channel:
        say(f"made in {time.monotonic() - start:.0f} s")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the cache over loopback; yield the URL of `folder` in it.

    The port comes from the folder's name, a digest, so that the URL is the same every time: then Docker
    knows its cached layers. Where another process has the port any other will do, for a full build.
    """
    handler = functools.partial(_Quiet, directory=str(folder.parent))
    preferred = 10_000 + int(folder.name, 16) % 20_000
    try:
        server = ThreadingHTTPServer(("127.0.0.1", preferred), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        say(f"port {preferred} is taken; Docker will not know its cached layers")
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{folder.name}"
        server.shutdown()


def offer(context: Path, wanted: set[str], always: bool, builder: str) -> None:
    """Make what is needed, print where it is, and stay until standard input ends."""
    environment, installer = context / "environment.yml", context / "installer.txt"
    if not always:
        with ThreadPoolExecutor() as executor:
            base_needed = executor.submit(needs_base, context / "Dockerfile", builder) if "base" in wanted else None
            channel_needed = executor.submit(needs_channel, environment) if "channel" in wanted else None
            wanted = {"base"} if base_needed and base_needed.result() else set()
            wanted |= {"channel"} if channel_needed and channel_needed.result() else set()
    make_missing("base" in wanted, environment if "channel" in wanted else None, installer, builder)
    served = serving(channel.folder_of(environment, installer)) if "channel" in wanted else nullcontext()
    with served as url:
        answer = {
            "base_image": base.name() if "base" in wanted else None,
            "channel": f"{url}/{channel.CHANNEL}" if url else None,
            "find_links": f"{url}/{channel.TOOLS}/" if url else None,
        }
        print(json.dumps(answer), flush=True)
        sys.stdin.read()


def main() -> None:
    """Read the command line; what can be expected to go wrong ends in one line."""
    parser = argparse.ArgumentParser(prog="dev.stand_in", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("context", type=Path, help="folder of Dockerfile, environment.yml and installer.txt")
    parser.add_argument("--wanted", choices=["base", "channel"], action="append", default=[])
    parser.add_argument("--builder", choices=["docker", "buildah"], default="docker", help="who is to have the base")
    parser.add_argument("--always", action="store_true", help="do not try the real ones first")
    arguments = parser.parse_args()
    try:
        offer(arguments.context, set(arguments.wanted), arguments.always, arguments.builder)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        sys.exit(f"stand-in: {error}")


if __name__ == "__main__":
    main()

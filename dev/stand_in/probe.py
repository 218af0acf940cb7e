"""Does the real thing answer? Asked before any stand-in is made."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path

from rattler import Gateway
from rattler.exceptions import GatewayError

from dev.stand_in.base import INSPECT

SECONDS = 60
"""How long a registry or channel may take before it counts as silent."""


def why_no_image(name: str, builder: str) -> str:
    """Empty when the image is here or can be pulled; otherwise the reason, in one line."""
    here = subprocess.run([*INSPECT[builder], name], check=False, capture_output=True)
    if here.returncode == 0:
        return ""
    try:
        pull = subprocess.run(
            [builder, "pull", "-q", name], check=False, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    return "" if pull.returncode == 0 else _last_line(pull.stderr)


def why_no_channel(name: str) -> str:
    """Empty when the conda channel answers; otherwise the reason, in one line."""

    async def ask() -> None:
        with tempfile.TemporaryDirectory() as cache:
            gateway = Gateway(cache_dir=Path(cache))
            await asyncio.wait_for(gateway.names([name], ["noarch"]), SECONDS)

    try:
        asyncio.run(ask())
    except GatewayError as error:
        return _last_line(str(error))
    except TimeoutError:
        return f"no answer within {SECONDS} s"
    return ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"

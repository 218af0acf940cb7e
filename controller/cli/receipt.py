"""`airlock receipt`: fetch the receipt of a run that has ended."""

from __future__ import annotations

import sys
from pathlib import Path

from controller.cli.endings import SUCCEEDED, say_failure
from controller.client.api import Client
from controller.client.download import receive
from controller.client.errors import ClientError


def fetch_receipt(run_id: str, file: Path | None, url: str, key: str | None) -> int:
    """Save the receipt, byte for byte, or print it; the exit code."""
    try:
        with Client(url, key) as client:
            receipt = client.receipt(run_id)
        if file is not None:
            receive([receipt], file)
    except (ClientError, OSError) as error:
        return say_failure(error)
    if file is None:
        sys.stdout.buffer.write(receipt + b"\n")
    return SUCCEEDED

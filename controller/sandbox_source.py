"""Where the sources of the sandbox are: the runner, and all that its image is built from."""

from __future__ import annotations

from pathlib import Path


def sandbox_source() -> Path:
    """The folder sandbox_image: the checkout's where this package is part of one, else the package's own copy."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "sandbox_image"
    return checkout if (checkout / "Dockerfile").is_file() else package / "sandbox_image"

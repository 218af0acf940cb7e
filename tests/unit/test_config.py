"""Settings: every one documented, limits cut to their maximum, the environment above the file."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from controller.config import Settings

DOCS = Path(__file__).parents[2] / "docs/configuration.md"


def test_every_setting_is_documented():
    """docs/configuration.md names each AIRLOCK_ variable and its default's meaning."""
    text = DOCS.read_text()

    missing = [name for name in Settings.model_fields if f"`AIRLOCK_{name.upper()}`" not in text]

    assert missing == []


def test_every_setting_says_what_it_is():
    """A field without a description is a riddle for the operator."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_request_gets_at_most_the_maximum():
    """A year becomes the largest time limit; what was not asked for is the default."""
    settings = Settings(max_timeout_seconds=100, max_memory_bytes=2 << 30)

    limits = settings.limits(timeout_seconds=365 * 86400.0, memory_bytes=1 << 50, cpus=None)

    assert (limits.timeout_seconds, limits.memory_bytes, limits.cpus) == (100, 2 << 30, 1.0)


def test_the_environment_stands_above_the_file(tmp_path, monkeypatch):
    """Order: defaults, TOML file, environment, arguments."""
    file = tmp_path / "airlock.toml"
    file.write_text("port = 1001\nworkers = 7\nthreads = 9\n")
    monkeypatch.setenv("AIRLOCK_CONFIG", str(file))
    monkeypatch.setenv("AIRLOCK_PORT", "1002")
    monkeypatch.setenv("AIRLOCK_THREADS", "10")

    settings = Settings(threads=11)

    assert (settings.workers, settings.port, settings.threads) == (7, 1002, 11)


def test_an_unknown_setting_in_the_file_is_refused(tmp_path, monkeypatch):
    """A misspelt limit must not be a limit that is silently off."""
    file = tmp_path / "airlock.toml"
    file.write_text("memory_byte = 1\n")
    monkeypatch.setenv("AIRLOCK_CONFIG", str(file))

    with pytest.raises(ValidationError, match="memory_byte"):
        Settings()

"""The commands for the host that Airlock runs on: serve, doctor, image. Each imports what it needs."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.cli.arguments import FOLDER, NEW_FILE
from controller.cli.terminal import safe_text, size

if TYPE_CHECKING:
    from controller.config import Settings
    from controller.doctor.examination import Finding
    from controller.image import SandboxImage


@click.command()
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on [default: 8750].")
@click.option("--data-dir", type=FOLDER, metavar="DIR", help="Database, inputs and results.")
@click.option("--key-file", type=NEW_FILE, metavar="FILE", help="Write the first API key here.")
def serve(host: str | None, port: int | None, data_dir: Path | None, key_file: Path | None) -> None:
    """Start the server. Every other setting is an AIRLOCK_ variable, or a line in the file AIRLOCK_CONFIG."""
    from controller import app

    settings = server_settings(host=host, port=port, data_dir=data_dir)
    try:
        with host_failures():
            app.serve(settings, key_file)
    except OSError as error:
        click.echo(f"airlock: {error}", err=True)  # a data directory or key file that cannot be made
        sys.exit(2)


@click.command()
@click.option("--data-dir", type=FOLDER, metavar="DIR", help="The server's data directory.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(data_dir: Path | None, as_json: bool) -> None:
    """Say what is wrong with this host, and what to do. Exit code 1 when runs would fail or be unsafe."""
    from controller.doctor import examination

    findings = examination.examine(server_settings(data_dir=data_dir))
    if as_json:
        click.echo(examination.as_json(findings))
    else:
        _print_findings(findings)
    sys.exit(int(any(finding.level is examination.Level.ERROR for finding in findings)))


def _print_findings(findings: list[Finding]) -> None:
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = click.style(f"{finding.level:<8}", fg=colours[finding.level])
        click.echo(f"{mark}{finding.name:<{width}}  {finding.found}")
        if finding.advice:
            click.echo(f"{'':<{width + 10}}-> {finding.advice}")


def server_settings(**given: Any) -> Settings:
    """The server's settings, with what was given on the command line. Exits 2 when one is not valid."""
    from pydantic import ValidationError

    from controller.config import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except (ValidationError, OSError, ValueError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else [{"loc": (), "msg": str(error)}]
        for fault in faults:
            place = ".".join(str(part) for part in fault["loc"])
            click.echo(f"airlock: setting {place or 'AIRLOCK_CONFIG'}: {fault['msg']}", err=True)
        sys.exit(2)


@click.group()
def image() -> None:
    """The sandbox image: build it, see what is in it."""


@image.command("build")
@click.option("--force", is_flag=True, help="Build even if nothing changed since the present image.")
@click.option("--base-image", default="", metavar="IMAGE", help="Instead of the Dockerfile's.")
@click.option("--channel", default="", metavar="URL", help="Conda channel instead of environment.yml's.")
@click.option("--pip-index-url", default="", metavar="URL", help="Package index of the build's one tool.")
@click.option("--stand-in", is_flag=True, help="Use the stand-ins for base image and channel at once.")
def image_build(force: bool, base_image: str, channel: str, pip_index_url: str, stand_in: bool) -> None:
    """Build the image of the setting AIRLOCK_IMAGE, if it is missing or what it is made from has changed.

    By Docker; for the oci engine by buildah, and unpacked.
    """
    from controller import image as images
    from controller import oci_image
    from controller.engines.docker_address import docker_answers

    settings = server_settings()
    by_docker = settings.engine == "docker" or (settings.engine == "auto" and docker_answers())
    with host_failures():
        sources = images.installed_sources(base_image, channel, pip_index_url, always_stand_in=stand_in)
        if by_docker or (settings.engine == "auto" and not shutil.which("buildah")):
            built = images.build(sources, settings.image, force=force, say=_say_progress)
        else:
            built = oci_image.build(sources, settings.image, settings.oci_image_dir, force=force, say=_say_progress)
    done = f"built in {built.seconds:.0f} s" if built.fresh else "up to date"
    click.echo(f"{built.tag}: {done}, {built.digest}")


@image.command("unpack")
def image_unpack() -> None:
    """Take the image from Docker for the oci engine, which then needs no Docker any more."""
    from controller import oci_image

    settings = server_settings()
    with host_failures():
        done = oci_image.unpack(settings.image, settings.oci_image_dir, say=_say_progress)
    click.echo(f"{done.tag}: {f'unpacked in {done.seconds:.0f} s' if done.fresh else 'up to date'}, {done.digest}")


@image.command("list")
@click.option("--packages", is_flag=True, help="List every package of each image.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def image_list(packages: bool, as_json: bool) -> None:
    """Show the sandbox images on this host, newest first, and what they were made from."""
    from dataclasses import asdict

    with host_failures():
        found = _inventory(server_settings())
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2, default=str))
        return
    for item in found:
        click.echo(f"{', '.join(item.tags) or '(no name)'}  {item.digest}")
        click.echo(f"  {size(item.size_bytes)}, made {item.created:%Y-%m-%d %H:%M} UTC", nl=False)
        click.echo(f", {len(item.packages)} packages from {', '.join(item.channels) or 'unknown'}")
        for package in item.packages if packages else ():
            click.echo(f"  {package.name} {package.version} {package.build}")
    if not found:
        click.echo("no sandbox image here; `airlock image build` makes one", err=True)


def _inventory(settings: Settings) -> list[SandboxImage]:
    """The images that the engine would run."""
    import docker

    from controller import image as images
    from controller import oci_image
    from controller.engines.choice import choose

    if choose(settings).engine == "oci":
        return oci_image.inventory(settings.oci_image_dir)
    with contextlib.closing(docker.from_env()) as client:
        return images.inventory(client)


def _say_progress(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def host_failures() -> Iterator[None]:
    """What the server or its engine cannot do, as a message and exit code 3."""
    from docker.errors import DockerException

    from controller.errors import AirlockError

    try:
        yield
    except AirlockError as error:
        click.echo(f"airlock: {error.code}: {safe_text(error.detail)}", err=True)
    except DockerException as error:
        click.echo(f"airlock: engine_unavailable: {safe_text(str(error))}", err=True)
    else:
        return
    sys.exit(3)

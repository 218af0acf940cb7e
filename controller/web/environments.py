"""/v1/environments: what a script finds in the sandbox."""

from __future__ import annotations

from typing import Any

from flask_openapi import APIBlueprint, Tag

from controller.services.backend import Backend
from controller.services.environments import Described, Environments
from controller.services.submission import ENVIRONMENT
from controller.web import auth
from controller.web.documents import Document, NoQuery
from controller.web.refusals import answers


class PackageDocument(Document):
    name: str
    version: str


class EnvironmentDocument(Document):
    """A named image. Packages have conda's names (`matplotlib-base`, `python-duckdb`); `python` is one of them."""

    name: str
    default: bool
    digest: str
    channels: list[str]
    packages: list[PackageDocument]


class EnvironmentList(Document):
    items: list[EnvironmentDocument]
    next_cursor: str | None


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The route, which needs a key with the scope `run`."""
    bp = APIBlueprint(
        "environments",
        __name__,
        url_prefix="/v1/environments",
        abp_tags=[Tag(name="environments")],
        abp_security=auth.SECURITY,
    )
    bp.before_request(auth.requires(backend, pepper, "run"))
    environments = Environments(backend)

    @bp.get("", summary="The environments and their packages", responses={200: EnvironmentList, **answers()})
    def page(query: NoQuery) -> dict[str, Any]:
        """As each image says of itself; `options.environment` of a run takes the name."""
        items = [_document(environment) for environment in environments.all()]
        return EnvironmentList(items=items, next_cursor=None).model_dump(mode="json")

    return bp


def _document(environment: Described) -> EnvironmentDocument:
    inventory = environment.inventory
    return EnvironmentDocument(
        name=environment.name,
        default=environment.name == ENVIRONMENT,
        digest=environment.digest,
        channels=list(inventory.channels),
        packages=[PackageDocument(name=package.name, version=package.version) for package in inventory.packages],
    )

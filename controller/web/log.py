"""/v1/runs/{id}/log: whole or live, as text, as events, or in the module's words."""

from __future__ import annotations

import codecs
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint

from controller.model import Caller, Run
from controller.runlog import REMARK, STDERR, STDOUT
from controller.services import runs
from controller.services.backend import Backend
from controller.web import auth, body, module_log
from controller.web.documents import LogQuery, RunPath, run_document
from controller.web.refusals import answers

HEARTBEAT_SECONDS = 10.0
_LOG = {"description": "the log", "content": {"text/plain": {}, "text/event-stream": {}}}


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add the log to the blueprint of runs."""

    @bp.get("/<run_id>/log", summary="The log", responses={200: _LOG, **answers(404)})
    def log(path: RunPath, query: LogQuery) -> Response:
        """text/plain: stdout and stderr as they came. text/event-stream: events `stdout`, `stderr`, last `status`."""
        caller = auth.caller()
        run = runs.get(backend, caller, path.run_id)
        if request.accept_mimetypes.best_match(["text/plain", "text/event-stream"]) == "text/event-stream":
            return _stream(_events(_only(query.stream, _follow(backend, caller, run.id))), "text/event-stream")
        items = _follow(backend, caller, run.id) if query.follow == "1" else runs.log(backend, run)
        text = _text(_only(query.stream, items))
        if query.style == "module":
            text = module_log.written(run, text)
        return _stream(text, "text/plain; charset=utf-8")


def _stream(chunks: Iterator[bytes], media_type: str) -> Response:
    response = Response(chunks, content_type=media_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that collects the log would make it not live
    return response


_Followed = Iterator[tuple[int, bytes] | Run | None]
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}


def _only(stream: str | None, items: _Followed) -> _Followed:
    """What came on one stream; a remark of ours belongs to both."""
    if stream is None:
        return items
    unwanted = {STDOUT, STDERR} - {_STREAMS[stream]}
    return (item for item in items if not (isinstance(item, tuple) and item[0] in unwanted))


def _follow(backend: Backend, caller: Caller, run_id: str) -> _Followed:
    """Begun before the answer is, so that a refusal can still be one."""
    items = runs.follow(backend, caller, run_id, body.departure(request.environ))
    return itertools.chain([next(items, None)], items)


def _decoders() -> dict[int, codecs.IncrementalDecoder]:
    """A script may print any bytes, and cut a character in two: what leaves here is UTF-8."""
    return {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (REMARK, STDOUT, STDERR)}


def _text(items: _Followed) -> Iterator[bytes]:
    decoders = _decoders()
    for item in items:
        if isinstance(item, tuple):
            yield decoders[item[0]].decode(item[1]).encode()
    for decoder in decoders.values():
        yield decoder.decode(b"", final=True).encode()


def _events(items: _Followed) -> Iterator[bytes]:
    decoders = _decoders()
    spoken = time.monotonic()
    for item in items:
        if isinstance(item, tuple):
            stream, data = item
            name = "stderr" if stream == STDERR else "stdout"
            yield _event(name, {"text": decoders[stream].decode(data)})
        elif isinstance(item, Run):
            yield _event("status", run_document(item))
        elif time.monotonic() - spoken < HEARTBEAT_SECONDS:
            continue
        else:
            yield b": still here\n\n"
        spoken = time.monotonic()


def _event(name: str, document: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()

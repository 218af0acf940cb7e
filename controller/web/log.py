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

from controller.model import Caller
from controller.runlog import BEGUN, END, REMARK, START, STDERR, STDOUT, Piece, Position
from controller.services import logs, runs
from controller.services.backend import Backend
from controller.services.logs import Standing
from controller.web import auth, body, module_log
from controller.web.documents import LogHeader, LogQuery, RunPath, run_document
from controller.web.refusals import answers

HEARTBEAT_SECONDS = 10.0
RETRY_MILLISECONDS = 1000
"""After which a client connects again: what it missed meanwhile, it is told then."""
BEGUN_AGAIN = "[airlock] the run is begun again\n"
_LOG = {"description": "the log", "content": {"text/plain": {}, "text/event-stream": {}}}


def routes(bp: APIBlueprint, backend: Backend) -> None:
    """Add the log to the blueprint of runs."""

    @bp.get("/<run_id>/log", summary="The log", responses={200: _LOG, **answers(404, 410)})
    def log(path: RunPath, query: LogQuery, header: LogHeader) -> Response:
        """text/plain: stdout and stderr as they came. text/event-stream: live, each event with an id.

        Events are `stdout` and `stderr`, `restart` when the run is begun again, `status` when it begins to run and,
        last, when it has ended.
        """
        caller = auth.caller()
        run = runs.get(backend, caller, path.run_id)
        if request.accept_mimetypes.best_match(["text/plain", "text/event-stream"]) == "text/event-stream":
            items = _follow(backend, caller, run.id, _place(header))
            return _stream(_events(_only(query.stream, items)), "text/event-stream")
        live = query.follow == "1"
        items = _follow(backend, caller, run.id, START) if live else logs.log(backend, run)
        text = _text(_only(query.stream, items))
        if query.style == "module":
            text = module_log.written(run, text)
        return _stream(itertools.chain([b""], text), "text/plain; charset=utf-8")


def _place(header: LogHeader) -> Position:
    """Where an interrupted stream of events goes on."""
    if header.last_event_id is None:
        return START
    attempt, offset = header.last_event_id.split("-")
    return Position(int(attempt), int(offset))


def _stream(chunks: Iterator[bytes], media_type: str) -> Response:
    response = Response(chunks, content_type=media_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that collects the log would make it not live
    return response


_Followed = Iterator[Piece | Standing | None]
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}


def _only(stream: str | None, items: _Followed) -> _Followed:
    """What came on one stream; a remark of ours belongs to both."""
    if stream is None:
        return items
    unwanted = {STDOUT, STDERR} - {_STREAMS[stream]}
    return (item for item in items if not (isinstance(item, Piece) and item.stream in unwanted))


def _follow(backend: Backend, caller: Caller, run_id: str, after: Position) -> _Followed:
    """Begun before the answer is, so that a refusal can still be one."""
    items = logs.follow(backend, caller, run_id, body.departure(request.environ), after)
    return itertools.chain([next(items)], items)


class _Texts:
    """Pieces as text. A script may print any bytes, and cut a character in two: what leaves here is UTF-8."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._decoders = {s: codecs.getincrementaldecoder("utf-8")("replace") for s in (REMARK, STDOUT, STDERR)}

    def of(self, piece: Piece) -> tuple[int, str]:
        """The stream to which the piece belongs, and its text, which may be empty as yet."""
        if piece.stream == BEGUN:
            self._begin()
            return REMARK, ""
        if piece.stream == END:
            return piece.data[0], self._decoders[piece.data[0]].decode(b"", final=True)
        return piece.stream, self._decoders[piece.stream].decode(piece.data)


def _text(items: _Followed) -> Iterator[bytes]:
    texts, line_begun = _Texts(), False
    for item in items:
        if isinstance(item, Piece):
            _, text = texts.of(item)
            if item.stream == BEGUN:
                text = "\n" * line_begun + BEGUN_AGAIN
            if text:
                line_begun = not text.endswith("\n")
                yield text.encode()


def _events(items: _Followed) -> Iterator[bytes]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    texts, spoken = _Texts(), time.monotonic()
    for item in items:
        if isinstance(item, Standing):
            yield _event("status", run_document(item.run), item.position)
        elif isinstance(item, Piece):
            stream, text = texts.of(item)
            if item.stream == BEGUN:
                yield _event("restart", {"attempt": item.position.attempt}, item.position)
            elif text and not item.seen:
                yield _event("stderr" if stream == STDERR else "stdout", {"text": text}, item.position)
            else:
                continue
        elif time.monotonic() - spoken < HEARTBEAT_SECONDS:
            continue
        else:
            yield b": still here\n\n"
        spoken = time.monotonic()


def _event(name: str, document: dict[str, Any], position: Position) -> bytes:
    return f"id: {position}\nevent: {name}\ndata: {json.dumps(document)}\n\n".encode()

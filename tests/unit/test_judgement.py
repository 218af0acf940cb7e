"""How a run ended is told from the clock, the cgroup, the exit and the files; the report is only the script's word."""

import json

import pytest
from pydantic import ValidationError

from controller.config import Settings
from controller.engines.base import Ended, SandboxResult
from controller.model import Format, Reason, Status, Usage
from controller.services.report import Report, judge, read_report
from controller.workspace import IMAGES, REPORT, RESULT, Outputs, output_file

ARROW = b"ARROW1\0\0table ARROW1"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
LIMITS = Settings().limits()


@pytest.fixture
def outputs(tmp_path):
    made = Outputs(tmp_path / "out", [RESULT, output_file(1, Format.CSV), REPORT, IMAGES])
    yield made
    made.close()


def put(outputs, name, data):
    (outputs._directory / name).write_bytes(data)


def say(outputs, **fields):
    report = {
        "version": 3,
        "outcome": "succeeded",
        "output": {"rows": 1, "columns": [{"name": "a", "type": "int64"}]},
        "files": {RESULT: len(ARROW)},
        **fields,
    }
    put(outputs, REPORT, json.dumps(report).encode())
    return read_report(outputs)


def ended(exit_code=0, how=Ended.EXITED, out_of_memory=False):
    return SandboxResult(how, exit_code, out_of_memory, "sha256:0", 0.1, Usage(wall_seconds=1))


def failed(outputs):
    return say(outputs, outcome="failed", reason="script_error", error={"code": "0085", "type": "T", "message": "m"})


def test_success_needs_exit_0_a_report_and_the_file(outputs):
    """All three agree: succeeded, with the size that was counted."""
    put(outputs, RESULT, ARROW)

    outcome = judge(ended(), say(outputs), outputs, LIMITS, ((1, Format.ARROW),))

    assert outcome.status is Status.SUCCEEDED
    assert outcome.output.bytes == len(ARROW)


@pytest.mark.parametrize(
    ("result", "report", "reason"),
    [
        (ended(0), None, Reason.CRASHED),  # os._exit(0)
        (ended(137), None, Reason.CRASHED),  # os._exit(137) is not out of memory
        (ended(124), None, Reason.CRASHED),  # nor is 124 a timeout
        (ended(139), "succeeded", Reason.CRASHED),
        (ended(1), "succeeded", Reason.CRASHED),
        (ended(0), "failed", Reason.CRASHED),
        (ended(1), "failed", Reason.SCRIPT_ERROR),
        (ended(137, Ended.DEADLINE), None, Reason.TIMEOUT),
        (ended(0, Ended.DEADLINE), "succeeded", Reason.TIMEOUT),
        (ended(137, out_of_memory=True), None, Reason.OUT_OF_MEMORY),
        (ended(1, out_of_memory=True), "failed", Reason.OUT_OF_MEMORY),
    ],
)
def test_exit_codes_and_words_that_do_not_agree_are_no_success(outputs, result, report, reason):
    """The table of spoofs: what the script claims never decides."""
    put(outputs, RESULT, ARROW)
    words = {None: lambda _: None, "succeeded": say, "failed": failed}[report](outputs)

    outcome = judge(result, words, outputs, LIMITS, ((1, Format.ARROW),))

    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)


def test_a_child_that_ran_out_of_memory_does_not_fail_a_script_that_went_on(outputs):
    """The counter rose, yet the runner came to its end with a result."""
    put(outputs, RESULT, ARROW)

    outcome = judge(ended(0, out_of_memory=True), say(outputs), outputs, LIMITS, ((1, Format.ARROW),))

    assert outcome.status is Status.SUCCEEDED


@pytest.mark.parametrize("data", [b"", b"ARROW1\0\0cut off at the en", b"not arrow at all, really"])
def test_a_result_that_is_no_arrow_file_is_no_success(outputs, data):
    """Looked at from outside, by its first and last bytes."""
    put(outputs, RESULT, data)

    outcome = judge(ended(), say(outputs, files={RESULT: len(data)}), outputs, LIMITS, ((1, Format.ARROW),))

    assert outcome.reason is Reason.CRASHED


def test_each_requested_format_must_be_there(outputs):
    """A CSV that was asked for and whose size is not the reported one is missing."""
    put(outputs, RESULT, ARROW)

    outcome = judge(ended(), say(outputs), outputs, LIMITS, ((1, Format.ARROW), (1, Format.CSV)))

    assert "result.csv has 0 bytes" in outcome.error.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 1, "outcome": "succeeded"}',
        b'{"version": 3, "outcome": "queued"}',
        b'{"version": 3, "outcome": "succeeded", "more": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
        b" " * (1 << 20) + b"{}",
    ],
)
def test_a_report_that_does_not_keep_the_contract_is_none(outputs, data):
    """Rubbish, other versions, unknown fields, deep nesting, one byte too many."""
    put(outputs, REPORT, data)

    assert read_report(outputs) is None


@pytest.mark.parametrize(
    "fields",
    [
        '"images": [' + "{}," * 300_000 + "{}]",
        '"warnings": [' + "0," * 500_000 + "0]",
        '"inputs": [' + "0," * 500_000 + "0]",
        '"output": {"rows": 1, "columns": [' + "{}," * 300_000 + "{}]}",
    ],
    ids=["images", "warnings", "inputs", "columns"],
)
def test_a_report_that_is_wrong_in_a_million_places_is_told_one_of_them(fields):
    """Each fault would be an object of its own, made while nobody else has the interpreter."""
    with pytest.raises(ValidationError) as refused:
        Report.model_validate_json(f'{{"version": 3, "outcome": "failed", {fields}}}')

    assert refused.value.error_count() <= 5  # of the first one


@pytest.mark.parametrize(
    ("images", "kept"),
    [
        ([("a.png", 0, len(PNG))], ["a.png"]),
        ([("../../etc/passwd", 0, len(PNG))], ["image-1.png"]),
        ([("a\nb.png", 0, len(PNG))], ["image-1.png"]),
        ([("a.png", 0, len(PNG)), ("a.png", len(PNG), len(PNG))], ["a.png", "image-2.png"]),
        ([("a.png", 0, len(PNG)), ("b.png", 0, len(PNG))], ["a.png"]),  # overlapping
        ([("a.png", 1, len(PNG))], []),  # no signature there
        ([("a.png", 0, 10_000)], []),  # beyond the end
        ([("a.png", -5, 10)], []),
    ],
)
def test_images_are_kept_only_where_they_really_are(outputs, images, kept):
    """Names are made safe; places that cannot be are left out."""
    put(outputs, RESULT, ARROW)
    put(outputs, IMAGES, PNG + PNG)
    words = say(outputs, images=[{"name": n, "offset": o, "bytes": b} for n, o, b in images])

    outcome = judge(ended(), words, outputs, LIMITS, ((1, Format.ARROW),))

    assert [image.name for image in outcome.images] == kept

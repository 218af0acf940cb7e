"""What every engine promises (controller/engines/base.py). An engine's test module inherits this and provides
`engine` (a fresh one), `image`, and `left_behind()` (how many sandboxes of that engine exist in any state).
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from controller.config import Settings
from controller.engines.base import STDERR, STDOUT, Ended, SandboxSpec
from controller.errors import EngineError, ImageMissing
from controller.image import INVENTORY
from controller.model import Job
from controller.services.execution import job_document
from controller.services.report import read_report
from controller.services.tenants import new_id
from controller.workspace import Workspaces

LIMITS = Settings().limits(timeout_seconds=20, memory_bytes=512 << 20)
GOOD = "import sys\nprint('to out')\nprint('to err', file=sys.stderr)\ndef azureml_main():\n    pass\n"
SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(60)\ndef azureml_main(): pass\n"


class Sink:
    """Keeps the log, and lets a test wait for a word in it."""

    def __init__(self):
        self.text = {STDOUT: b"", STDERR: b""}
        self.changed = threading.Condition()

    def __call__(self, stream, data):
        with self.changed:
            self.text[stream] += data
            self.changed.notify_all()

    def wait_for(self, word, seconds=20):
        with self.changed:
            return self.changed.wait_for(lambda: word in self.text[STDOUT], seconds)


def always():
    return True


class EngineContract:
    @pytest.fixture
    def make_spec(self, tmp_path, image):
        """A spec for a script, with its files; and the outputs that it may write."""
        opened = []

        def make(script, limits=LIMITS):
            workspaces = Workspaces(tmp_path)
            run_id = new_id("run")
            workspace = workspaces.of(run_id)
            with workspaces.stage() as staging:
                staging.write("script.py", script.encode())
                staging.write("job.json", job_document("run", Job(), limits, Job().wanted))
                staging.seal(workspace.root)
            context = workspace.outputs(Job().wanted)
            outputs = context.__enter__()
            opened.append(context)
            spec = SandboxSpec(run_id, 1, image, workspace.input_dir, workspace.output_dir, limits)
            return spec, outputs

        yield make
        for context in opened:
            context.__exit__(None, None, None)

    def test_a_job_runs_and_nothing_is_left(self, engine, make_spec, left_behind):
        """Exit 0, both streams told apart, the outputs written, usage measured, the sandbox gone."""
        spec, outputs = make_spec(GOOD)
        sink = Sink()

        result = engine.run(spec, sink, always)

        assert (result.ended, result.exit_code, result.out_of_memory) == (Ended.EXITED, 0, False)
        assert sink.text[STDOUT].startswith(b"to out\n")
        assert sink.text[STDERR].startswith(b"to err\n")
        assert read_report(outputs).outcome == "succeeded"
        assert result.digest.startswith("sha256:")
        assert result.usage.wall_seconds > 0
        assert left_behind() == 0

    def test_what_stands_ready_is_told_as_the_check_tells_it(self, engine, image):
        """None where every run has a plain start; else how many at most, and how many runs found one."""
        told, checked = engine.warm(), engine.check(image).warm

        assert (told is None) == (checked is None)
        if told is not None:
            assert (told.limit, told.taken) == (checked.limit, checked.taken)

    def test_usage_comes_from_the_hosts_counters(self, engine, make_spec):
        """A second of work and 200 MiB are seen, more or less."""
        spec, _ = make_spec(
            "import time\nx = bytearray(200 << 20)\nend = time.process_time() + 1\n"
            "while time.process_time() < end: pass\ntime.sleep(0.3)\ndef azureml_main(): pass\n"
        )

        usage = engine.run(spec, Sink(), always).usage

        assert 1.0 <= usage.cpu_seconds <= 5.0
        assert 200 << 20 <= usage.peak_memory_bytes <= 512 << 20

    def test_the_deadline_is_the_controllers(self, engine, make_spec, left_behind):
        """A script that sleeps on is ended by the clock, soon after its limit."""
        spec, _ = make_spec(SLEEP, LIMITS.model_copy(update={"timeout_seconds": 1.5}))
        began = time.monotonic()

        result = engine.run(spec, Sink(), always)

        assert result.ended is Ended.DEADLINE
        assert 1.5 <= result.usage.wall_seconds <= 2.5
        assert time.monotonic() - began < 15
        assert left_behind() == 0

    def test_a_script_that_closes_its_output_is_still_watched(self, engine, make_spec):
        """The end of the stream is not the end of the run."""
        spec, _ = make_spec(
            "import os, time\nos.close(1); os.close(2)\ntime.sleep(60)\ndef azureml_main(): pass\n",
            LIMITS.model_copy(update={"timeout_seconds": 1.5}),
        )

        result = engine.run(spec, Sink(), always)

        assert result.ended is Ended.DEADLINE

    def test_a_script_that_takes_its_own_log_is_still_watched(self, engine, make_spec):
        """It may open its log for reading, and be faster than whoever was told that there is something to read."""
        spec, _ = make_spec(
            "import os, time\nlog = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n"
            "end = time.monotonic() + 1\nwhile time.monotonic() < end:\n    os.write(1, b'x')\n"
            "    try: os.read(log, 100)\n    except BlockingIOError: pass\n"
            "time.sleep(60)\ndef azureml_main(): pass\n",
            LIMITS.model_copy(update={"timeout_seconds": 2.0}),
        )

        result = engine.run(spec, Sink(), always)

        assert result.ended is Ended.DEADLINE
        assert result.usage.wall_seconds <= 3.0

    def test_memory_that_runs_out_is_told_from_the_cgroup(self, engine, make_spec):
        """The counter rose and the interpreter died."""
        spec, _ = make_spec("x = bytearray(2 << 30)\ndef azureml_main(): pass\n")

        result = engine.run(spec, Sink(), always)

        assert result.out_of_memory
        assert result.exit_code == 137

    def test_an_exit_code_of_137_is_not_out_of_memory(self, engine, make_spec):
        """Anybody can exit with 137."""
        spec, _ = make_spec("import os; os._exit(137)")

        result = engine.run(spec, Sink(), always)

        assert (result.exit_code, result.out_of_memory) == (137, False)

    def test_kill_ends_a_running_sandbox(self, engine, make_spec, left_behind):
        """Within a second, and `run` says that it was killed."""
        spec, _ = make_spec(SLEEP)
        sink, results = Sink(), []
        thread = threading.Thread(target=lambda: results.append(engine.run(spec, sink, always)))
        thread.start()
        assert sink.wait_for(b"asleep")

        began = time.monotonic()
        heard = engine.kill(spec.run_id)
        thread.join(20)

        assert heard
        assert results[0].ended is Ended.KILLED
        assert time.monotonic() - began < 1.5
        assert left_behind() == 0

    def test_a_run_that_is_no_longer_wanted_makes_no_sandbox(self, engine, make_spec):
        """The question is asked when `kill` can already reach the run, and before anything exists."""
        spec, _ = make_spec(GOOD)
        heard = []

        result = engine.run(spec, Sink(), lambda: heard.append(engine.kill(spec.run_id)) or False)

        assert heard == [True]
        assert result.ended is Ended.KILLED
        assert result.digest == ""

    def test_killing_what_does_not_run_is_harmless(self, engine):
        """False, and nothing else."""
        assert engine.kill("run_unknown") is False

    def test_a_missing_image_has_a_name(self, engine, make_spec, left_behind):
        """And the message says how to get it."""
        spec, _ = make_spec(GOOD)

        with pytest.raises(ImageMissing, match="airlock image build"):
            engine.run(replace(spec, image="airlock-there-is-no-such-image:latest"), Sink(), always)

        assert left_behind() == 0

    def test_a_sweep_leaves_running_sandboxes_alone(self, engine, make_spec):
        """Only what no call of `run` is working on is removed."""
        spec, _ = make_spec("import time\nprint('asleep', flush=True)\ntime.sleep(1)\n" + GOOD)
        sink, results = Sink(), []
        thread = threading.Thread(target=lambda: results.append(engine.run(spec, sink, always)))
        thread.start()
        assert sink.wait_for(b"asleep")

        removed = engine.sweep()
        thread.join(20)

        assert removed == 0
        assert results[0].exit_code == 0

    def test_the_engine_says_what_it_is(self, engine, image):
        """Versions, the image's digest, and the walls that stand."""
        info = engine.check(image)

        assert info.version
        assert info.image_digest.startswith("sha256:")
        assert info.controls["seccomp"]
        assert engine.check("airlock-there-is-no-such-image:latest").image_digest is None

    def test_a_file_of_an_image_is_read(self, engine, image):
        """Its bytes, as they are in the image; nothing has to run for it, and nothing stays."""
        content = engine.image_file(image, INVENTORY, 1 << 20)

        assert json.loads(content)["version"] == 1
        assert engine.sweep() == 0

    @pytest.mark.parametrize(
        ("path", "limit", "words"),
        [
            ("/no/such/file", 1 << 20, "no /no/such/file"),
            ("/opt/airlock", 64 << 20, "no plain file"),
            ("/opt/conda/bin/python", 64 << 20, "no plain file"),
            (INVENTORY, 100, "the limit is 100"),
        ],
    )
    def test_a_file_that_cannot_be_read_has_a_name(self, engine, image, path, limit, words):
        """Missing, a folder, larger than wanted: an EngineError that names the path."""
        with pytest.raises(EngineError, match=words):
            engine.image_file(image, path, limit)

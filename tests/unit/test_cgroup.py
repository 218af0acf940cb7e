"""The counters are found where each kind of host keeps them."""

import pytest

from controller.engines import cgroup

ID = "c0ffee"


def test_version_1_with_cgroupfs(tmp_path):
    """cgroup v1: one tree per controller, nanoseconds, the kills in memory.oom_control."""
    for tree, name, text in (
        ("cpuacct", "cpuacct.usage", "2500000000\n"),
        ("memory", "memory.max_usage_in_bytes", "4096\n"),
        ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ):
        place = tmp_path / tree / "airlock-runs" / ID
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)

    counters = cgroup.reader(ID, "/airlock-runs", version="1", driver="cgroupfs", root=tmp_path).sample()

    assert counters == cgroup.Counters(cpu_seconds=2.5, peak_memory_bytes=4096, oom_kills=3)


@pytest.mark.parametrize(
    ("driver", "parent", "place"),
    [
        ("systemd", "airlock-runs.slice", f"airlock.slice/airlock-runs.slice/docker-{ID}.scope"),
        ("cgroupfs", "/airlock-runs", f"airlock-runs/{ID}"),
    ],
)
def test_version_2(tmp_path, driver, parent, place):
    """cgroup v2: one tree, microseconds; systemd nests the slices by their dashes."""
    directory = tmp_path / place
    directory.mkdir(parents=True)
    (directory / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (directory / "memory.peak").write_text("8192\n")
    (directory / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")

    counters = cgroup.reader(ID, parent, version="2", driver=driver, root=tmp_path).sample()

    assert counters == cgroup.Counters(cpu_seconds=1.5, peak_memory_bytes=8192, oom_kills=1)
    assert cgroup.parent_name(driver) == parent


def test_the_last_reading_outlives_the_cgroup(tmp_path):
    """The directory goes with the container: what was read before is kept, nothing is made up."""
    directory = tmp_path / "airlock-runs" / ID
    directory.mkdir(parents=True)
    (directory / "memory.peak").write_text("10\n")
    reader = cgroup.reader(ID, "/airlock-runs", version="2", driver="cgroupfs", root=tmp_path)

    reader.sample()
    (directory / "memory.peak").unlink()
    counters = reader.sample()

    assert counters == cgroup.Counters(cpu_seconds=None, peak_memory_bytes=10, oom_kills=None)


def test_nothing_is_read_after_the_last_reading(tmp_path):
    """What is in a container after its runner has ended is no longer the run's."""
    directory = tmp_path / "airlock-runs" / ID
    directory.mkdir(parents=True)
    (directory / "memory.peak").write_text("10\n")
    reader = cgroup.reader(ID, "/airlock-runs", version="2", driver="cgroupfs", root=tmp_path)

    reader.finish()
    (directory / "memory.peak").write_text("20\n")

    assert reader.sample().peak_memory_bytes == reader.last.peak_memory_bytes == 10


@pytest.mark.parametrize(
    ("driver", "asked", "place"),
    [
        ("systemd", "airlock-runs.slice:airlock:name", "airlock.slice/airlock-runs.slice/airlock-name.scope"),
        ("cgroupfs", "/airlock-runs/name", "airlock-runs/name"),
    ],
)
def test_a_container_of_the_oci_engine_is_found_where_it_was_asked_for(tmp_path, driver, asked, place):
    """What the runtime is told, and where it will then be: systemd makes a scope in nested slices of it."""
    directory = tmp_path / place
    directory.mkdir(parents=True)
    (directory / "memory.peak").write_text("8192\n")

    reader = cgroup.reader_at(cgroup.oci_place("name", driver), "2", tmp_path)

    assert cgroup.oci_path("name", driver) == asked
    assert reader.sample().peak_memory_bytes == 8192


def test_cgroups_that_are_not_there_are_clear():
    """As after a container that came to nothing."""
    assert cgroup.clear("airlock-runs/airlock-there-is-none", 0) is None

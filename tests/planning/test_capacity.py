"""Free memory, from made-up accounts of both kernel interfaces."""

from __future__ import annotations

import pytest

from unetkit.planning import capacity
from unetkit.planning.capacity import default_memory_gb, free_memory, resident

GIB = 1024**3


@pytest.fixture
def machine(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * 1024**2} kB\nMemAvailable: {8 * 1024**2} kB\n")
    membership = tmp_path / "cgroup"
    membership.write_text("")
    return {"meminfo": meminfo, "cgroups": tmp_path / "sys", "membership": membership}


def group(folder, names, limit, used, cache):
    folder.mkdir(parents=True)
    for name, value in zip(names[:2], (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


V2 = ("memory.max", "memory.current", "file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")


def test_without_a_group_it_is_what_the_machine_has_available(machine):
    assert free_memory(**machine) == 8 * GIB


def test_a_container_has_less(machine):
    machine["membership"].write_text("0::/job/inner\n")
    group(machine["cgroups"] / "job", V2, 4 * GIB, 3 * GIB, 2 * GIB)
    assert free_memory(**machine) == 3 * GIB


def test_the_older_interface(machine):
    machine["membership"].write_text("9:memory:/job\n3:cpu:/other\n")
    group(machine["cgroups"] / "memory" / "job", V1, 2 * GIB, GIB, GIB // 2)
    assert free_memory(**machine) == 2 * GIB - GIB // 2


def test_no_limit_is_no_limit(machine):
    machine["membership"].write_text("0::/\n")
    group(machine["cgroups"], V2, "max", GIB, 0)
    assert free_memory(**machine) == 8 * GIB


def test_a_group_that_is_over_its_limit_has_nothing_left(machine):
    machine["membership"].write_text("0::/job\n")
    group(machine["cgroups"] / "job", V2, GIB, 2 * GIB, 0)
    assert free_memory(**machine) == 0


def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    assert free_memory(meminfo=nowhere, cgroups=nowhere, membership=nowhere) is None
    monkeypatch.setattr(capacity, "free_memory", lambda: None)
    assert default_memory_gb("cpu") == pytest.approx(0.9 * 4 - 0.75)


def test_a_reserve_is_kept(monkeypatch):
    monkeypatch.setattr(capacity, "free_memory", lambda: 10_000_000_000)
    assert default_memory_gb("cpu") == pytest.approx(8.25)
    monkeypatch.setattr(capacity, "free_memory", lambda: 1_000_000_000)
    assert default_memory_gb("cpu") == pytest.approx(0.25)


def test_a_device_that_is_not_there_is_guessed(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert default_memory_gb("cuda") == pytest.approx(0.9 * 4 - 0.75)


def test_what_a_process_takes_is_the_kernels_account_of_it(tmp_path):
    account = tmp_path / "status"
    account.write_text("Name:\tx: y\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\nThreads:\t1\n")
    assert (resident("VmRSS", status=account), resident("VmHWM", status=account)) == (1024**2, 2 * 1024**2)
    assert resident("VmSwap", status=account) is None
    assert resident("VmRSS", status=tmp_path / "none") is None


@pytest.mark.skipif(resident("VmRSS") is None, reason="no Linux")
def test_the_peak_is_this_programs_own_and_not_that_of_whoever_started_it():
    import subprocess
    import sys

    large = bytearray(200 * 1024**2)
    large[::4096] = b"x" * len(large[::4096])
    code = (
        "from unetkit.planning.capacity import resident; import resource; "
        "print(resident('VmHWM'), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours, _ = map(int, told.split())
    here = resident("VmHWM")
    assert here is not None
    assert ours < len(large) < here

"""Which folders may hold a limit, for both versions of control groups, and how many threads they leave."""

import pytest

from unetkit.runtimes import cgroups
from unetkit.runtimes.cgroups import engine_threads, group_folders, thread_count


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        (
            "0::/job/inner\n",
            ["", "memory", "job/inner", "job", "unified/job/inner", "unified/job", "unified"],
        ),
        ("4:cpu:/a\n3:memory:/job\n", ["", "memory", "memory/job"]),
        ("4:cpu,memory:/box\n", ["", "memory", "cpu,memory/box", "cpu,memory", "memory/box"]),
        ("0::/\n", ["", "memory", "unified"]),
        ("nonsense\n4:cpuset:/x\n", ["", "memory"]),
        ("", ["", "memory"]),
    ],
)
def test_every_group_and_every_group_above(tmp_path, membership, expected):
    (tmp_path / "membership").write_text(membership)
    found = group_folders("memory", cgroups=tmp_path, membership=tmp_path / "membership")
    assert [str(path.relative_to(tmp_path)).replace(".", "", 1) for path in found] == expected


def test_a_system_without_groups(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert group_folders("cpu", cgroups=nowhere, membership=nowhere) == [nowhere, nowhere / "cpu"]


def cgroup(folder, files, membership):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "membership").write_text(membership)
    return {"cgroups": folder, "membership": folder / "membership"}


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({"cpu.max": "300000 100000\n"}, "0::/\n", 3),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 64),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, "0::/a/b\n", 2),
        ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "700000 100000"}, "0::/a/b\n", 4),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "50000"}, "1:cpu:/\n", 5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/\n", 64),
        (
            {"cpu,cpuacct/box/cpu.cfs_quota_us": "200000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"},
            "4:memory:/box\n3:cpu,cpuacct:/box\n",
            2,
        ),
        ({"cpu.max": "nonsense"}, "", 64),
        ({"other": ""}, "", 64),
    ],
)
def test_threads_follow_the_quota(tmp_path, monkeypatch, files, membership, expected):
    monkeypatch.setattr(cgroups.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert thread_count(**cgroup(tmp_path, files, membership)) == expected


def test_threads_follow_the_affinity_and_survive_missing_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups.os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    assert thread_count(cgroups=tmp_path / "no", membership=tmp_path / "no") == 3
    assert thread_count(**cgroup(tmp_path, {"cpu.max": "900000 100000"}, "0::/")) == 3


@pytest.mark.parametrize(
    ("asked", "expected"), [("", 8), ("2", 2), ("3,1", 3), ("64", 8), ("0", 8), ("many", 8)]
)
def test_engines_take_no_more_threads_than_the_variable_says(monkeypatch, asked, expected):
    monkeypatch.setattr(cgroups, "thread_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert engine_threads() == expected

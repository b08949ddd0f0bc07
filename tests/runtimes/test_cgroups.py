"""Which folders may hold a limit, for both versions of control groups."""

import pytest

from unetkit.runtimes.cgroups import group_folders


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

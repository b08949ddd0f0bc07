"""The rows of large pictures and fast runtimes; see ``benchmarks/worklist.py`` for how they are worked off.

``volume`` uses the hippocampus run of the main road: ``benchmarks/main_road/bench.py --only hippocampus``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, THEIRS, UNET, Job, work_off  # noqa: E402

WORK, ROAD = HERE / "work", HERE.parent / "main_road"
SET, FOLD, MINUTES = "neu_seg", "2/5", 10
EDGES = (4096, 16384, 32768)
BYTES = '[{"scheme":"zero_one","low":0,"high":255}]'
"""As the peer's: a picture of many images has another mean than each of them, and bytes may go in."""
TILES = ("--set", "inference.tile_size=[40,56,40]", "--set", "inference.overlap_fraction=0.25")
"""Chosen among six on this very mosaic, for its Dice and memory, and as large as one of the mosaic's cases:
not what a plan says by itself, and kinder to us than volumes nobody has looked at."""
PUBLISHED = "network.widths=[64,128,256,512,1024]"
"""Those of the paper: by itself a plan takes what learns enough in the minutes it is given."""
EXPORTS = ("onnx", "openvino", "onnx_int8", "openvino_int8")


def training(run: Path, network: str, *more: str) -> tuple[str, ...]:
    """A network trained on the cases of the fold, predicting in the tiles of the peer."""
    return (
        UNET, "train", f"{DATA / SET}", "--out", f"{run}", "--network", network, "--minutes", f"{MINUTES}",
        "--fold", FOLD, "--overwrite", "--set", "inference.tile_size=[512,512]",
        "--set", "inference.overlap_fraction=0.125", "--set", f"preparation.normalization={BYTES}", *more,
    )  # fmt: skip


def trained() -> list[Job]:
    """Both networks for the same minutes on the same cases, the models exported, the large picture."""
    data, run, calibration = DATA / SET, WORK / "run", WORK / "picture" / "calibration"
    ours = Job(
        "train-unetkit",
        (
            training(run, "mobile"),
            (OURS, f"{HERE}/mosaic.py", "--data", f"{data}", "--split", f"{run / 'split.json'}",
             "--out", f"{WORK / 'picture'}"),
            *(
                (UNET, "export", f"{run}", "--to", name.removesuffix("_int8"), "--out", f"{WORK / name}",
                 "--overwrite", "--uint8", *(("--int8", f"{calibration}") if name.endswith("_int8") else ()))
                for name in EXPORTS
            ),
        ),
    )  # fmt: skip
    theirs = Job(
        "train-peer",
        (
            (THEIRS, f"{HERE}/mobile_peer.py", "--train", "--weights", f"{WORK / 'peer.pt'}", "--data",
             f"{data}", "--split", f"{run / 'split.json'}", "--minutes", f"{MINUTES}"),
        ),
        needs=ours.name,
    )  # fmt: skip
    return [ours, theirs]


def models() -> tuple[str, ...]:
    """What the rows of speed compare, by name."""
    folders = {"pytorch": WORK / "run", **{name: WORK / name for name in EXPORTS}}
    return tuple(word for name, folder in folders.items() for word in ("--model", f"{name}={folder}"))


def jobs() -> list[Job]:
    """Every claim, in the order they are run."""
    picture = WORK / "picture"
    frame = (
        OURS, f"{HERE}/frame.py", "--image", f"{picture / 'image.png'}", "--label",
        f"{picture / 'label.png'}", "--work", f"{WORK / 'frame'}",
    )  # fmt: skip
    first, chain = WORK / "run_2015", WORK / "openvino_int8"
    against = ("--turns", "1", "--model", f"unet_2015={first}", "--model", f"openvino_int8={chain}")
    rows = [
        *trained(),
        Job("frame", ((*frame, "--peer", f"{WORK / 'peer.pt'}", *models()),), needs="train-peer"),
        Job("train-unet_2015", (training(first, "unet_2015", "--set", PUBLISHED),), needs="train-unetkit"),
        Job("frame-unet_2015", ((*frame, *against),), needs="train-unet_2015"),
        Job("tiles", ((OURS, f"{HERE}/tiles.py", *models()),), needs="train-unetkit"),
    ]
    for edge in EDGES:
        memory = (
            OURS, f"{HERE}/memory.py", "--work", f"{WORK / 'memory'}", "--width", f"{edge}",
            "--model", f"{WORK / 'openvino_int8'}",
        )  # fmt: skip
        rows.append(Job(f"memory-{edge}", (memory,), needs="train-unetkit"))
    run, exported = ROAD / "work" / "hippocampus" / "run", WORK / "volume_openvino"
    export = (UNET, "export", f"{run}", "--to", "openvino", "--out", f"{exported}", "--overwrite", "--quiet")
    volume = (
        THEIRS, f"{ROAD}/predict_pair.py", "--data", f"{DATA / 'hippocampus'}", "--split",
        f"{run / 'split.json'}", "--work", f"{run.parent / 'nnunet_work'}", "--run", f"{run}",
        "--exported", f"{exported}", "--python", OURS, "--shape", "256", "256", "256",
        "--turns", "1", "--warmup", "0", *TILES,
    )  # fmt: skip
    return [*rows, Job("volume", (export, volume))]


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()

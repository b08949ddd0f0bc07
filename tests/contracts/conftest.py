"""What contracts of several rooms share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def written_once() -> Callable[..., AbstractContextManager[None]]:
    """A context for exports of one and the same network, named by what is given.

    Torch, which takes seconds, writes it for the first; the others go on from the same bytes.
    """
    files: dict[tuple[Hashable, ...], bytes] = {}

    @contextmanager
    def context(*name: Hashable) -> Iterator[None]:
        write = torch.onnx.export

        def kept(network: object, example: object, path: Path, **how: object) -> None:
            if name not in files:
                write(network, example, path, **how)
                files[name] = path.read_bytes()
            path.write_bytes(files[name])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.onnx, "export", kept)
            yield

    return context

"""What ``compress.json`` says as one JSON line, without the folders of the machine it was made on."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Print sizes, times and scores before and after."""
    found = json.loads(Path(sys.argv[1]).read_text())
    kept = {key: value for key, value in found.items() if key not in ("model", "source", "folder", "worst")}
    print(json.dumps(kept))


if __name__ == "__main__":
    main()

"""A comparison's table as one JSON line, without the folders of the machine it was made on."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Print the networks of ``compare.json``."""
    found = json.loads(Path(sys.argv[1]).read_text())
    networks = [{key: value for key, value in one.items() if key != "runs"} for one in found["networks"]]
    facts = {"seeds": found["seeds"], "minutes": found["minutes"], "device": found["device"]}
    print(json.dumps({**facts, "networks": networks}))


if __name__ == "__main__":
    main()

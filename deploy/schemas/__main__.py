"""Write the schemas beside this file. Refuses a change that would break somebody: give the event a new version then."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.schemas.compatibility import breaks
from deploy.schemas.documents import asyncapi, event_types, schema

FOLDER = Path(__file__).parent


def main() -> int:
    documents = {f"{name}.json": schema(event) for name, event in event_types().items()}
    broken = [
        f"{name} {departure}"
        for name, document in documents.items()
        if (FOLDER / name).exists()
        for departure in breaks(json.loads((FOLDER / name).read_text()), document)
    ]
    if broken:
        print("not written, because somebody relies on what is there:", *broken, sep="\n  ", file=sys.stderr)
        return 1
    for name, document in (documents | {"asyncapi.json": asyncapi()}).items():
        (FOLDER / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

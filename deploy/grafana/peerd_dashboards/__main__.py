"""Write all dashboards into the folder that is named: `python -m peerd_dashboards FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from peerd_dashboards import render


def main(folder: Path) -> None:
    for name, text in render().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

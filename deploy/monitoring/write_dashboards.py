"""Write deploy/grafana/dashboards, or with `--check` say which of it is out of date and exit 1."""

import sys
from pathlib import Path

from dashboards.catalog import PAGES

TOP = Path(__file__).parents[2]
FOLDER = TOP / "deploy/grafana/dashboards"


def main() -> int:
    """Write, or check; returns the exit code. A file of a dashboard that is no more is out of date, too."""
    wanted = {FOLDER / f"{page.name}.json": page.text() for page in PAGES}
    found = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    stale = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"out of date: {path.relative_to(TOP)} (run `make docs`)", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        _bring_up_to_date(path, wanted.get(path))
    return 0


def _bring_up_to_date(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    print(f"{'removed' if text is None else 'written'}: {path.relative_to(TOP)}")


if __name__ == "__main__":
    sys.exit(main())

"""Writes the files of all dashboards, and removes those of none."""

from pathlib import Path

from charts.dashboards import files

FOLDER = Path(__file__).parents[1] / "feature-platform" / "dashboards"

if __name__ == "__main__":
    for file in FOLDER.glob("*.json"):
        file.unlink()
    for name, text in files().items():
        (FOLDER / name).write_text(text)

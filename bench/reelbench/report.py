"""Writes the results of a run: Markdown, JSON lines, SVG."""

import json
from dataclasses import asdict

from . import figures, plot, table


def write(directory, environment, journal):
    """Writes `results.md`, `results.jsonl` and `results.svg` beside the raw samples; the compared figures."""
    compared = figures.against_targets(journal)
    plain = figures.of_all_systems(journal)
    (directory / "results.md").write_text(table.markdown(environment, compared, plain, journal.remarks))
    lines = [{"environment": environment}, *map(asdict, compared), *map(asdict, plain)]
    (directory / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawing = plot.svg(compared)
    if drawing:
        (directory / "results.svg").write_text(drawing)
    return compared

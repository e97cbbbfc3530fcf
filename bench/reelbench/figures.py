"""Turns samples into figures: medians, spread, the ratio to what reelfs is compared with, and whether the target is met."""

from dataclasses import dataclass
from statistics import median

from .targets import TARGETS

REELFS = "reelfs"


@dataclass(frozen=True)
class Figure:
    """One line of the results; the fields from `reference` on are None where nothing is compared."""

    name: str
    dataset: str
    temperature: str
    system: str
    unit: str
    value: float
    lowest: float
    highest: float
    samples: int
    reference: str | None = None
    ratio: float | None = None
    ratio_lowest: float | None = None
    ratio_highest: float | None = None
    ratio_of_best: float | None = None
    bound: str | None = None
    target: float | None = None
    passed: bool | None = None


def of_all_systems(journal):
    """A figure without comparison for everything that was measured."""
    return [
        _plain(key, system, samples)
        for key, systems in journal.by_key().items() for system, samples in systems.items()
    ]


def against_targets(journal):
    """A figure for each target whose reelfs side was measured, and whose reference was."""
    measured = journal.by_key()
    return [
        figure for target in TARGETS
        if (systems := measured.get((target.name, target.dataset, target.temperature))) and REELFS in systems
        if (figure := _compared(target, systems))
    ]


def _plain(key, system, samples):
    values = [sample.value for sample in samples]
    return Figure(*key, system, samples[0].unit, median(values), min(values), max(values), len(values))


def _compared(target, systems):
    """The figure of one target. Its ratio is that of medians, its spread that of the pairs of one repetition."""
    own = _plain((target.name, target.dataset, target.temperature), REELFS, systems[REELFS])
    bound = None if target.bound is None else "at most" if target.at_least is None else "at least"
    if not target.references:
        return Figure(**{**vars(own), "bound": bound, "target": target.bound, "passed": target.passed(own.value)})
    present = [name for name in target.references if name in systems]
    if not present:
        return None
    reference = min(present, key=lambda name: median(s.value for s in systems[name]))
    theirs = {s.repetition: s.value for s in systems[reference]}
    if not all(theirs.values()):
        return None
    ratio = own.value / median(theirs.values())
    best = max if own.unit.endswith("/s") else min  # rates against times and sizes
    pairs = [s.value / theirs[s.repetition] for s in systems[REELFS] if s.repetition in theirs] or [ratio]
    return Figure(**{
        **vars(own), "reference": reference, "ratio": ratio, "ratio_lowest": min(pairs), "ratio_highest": max(pairs),
        "ratio_of_best": best(s.value for s in systems[REELFS]) / best(theirs.values()),
        "bound": bound, "target": target.bound, "passed": target.passed(ratio),
    })

"""Tests of what decides whether a target is reached: `python3 -m unittest discover bench/tests`."""

import contextlib
import io
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reelbench import figures, plot, table  # noqa: E402  (the package lies beside the tests)
from reelbench.samples import Journal  # noqa: E402


def journal_of(*rows):
    """A journal with rows of (name, dataset, temperature, system, unit, values)."""
    journal = Journal(os.devnull)
    with contextlib.redirect_stderr(io.StringIO()):
        for name, dataset, temperature, system, unit, values in rows:
            for repetition, value in enumerate(values):
                journal.add(name, dataset, temperature, system, repetition, value, unit)
    journal.close()
    return journal


class Figures(unittest.TestCase):
    """Ratios, their spread, and verdicts."""

    def test_a_time_is_compared_by_medians_and_its_spread_by_repetition(self):
        journal = journal_of(
            ("cp -a", "D1", "cold", "reelfs", "s", [1.0, 2.0, 9.0]), ("cp -a", "D1", "cold", "native", "s", [2.0, 2.0, 3.0])
        )
        (figure,) = figures.against_targets(journal)
        self.assertEqual((figure.ratio, figure.ratio_lowest, figure.ratio_highest), (1.0, 0.5, 3.0))
        self.assertEqual(figure.ratio_of_best, 0.5)
        self.assertTrue(figure.passed)

    def test_the_smallest_peer_is_the_reference(self):
        name = "repository size"
        journal = journal_of(
            (name, "D1", "", "reelfs", "B", [85.0]), (name, "D1", "", "restic", "B", [110.0]), (name, "D1", "", "borg", "B", [100.0])
        )
        (figure,) = figures.against_targets(journal)
        self.assertEqual((figure.reference, figure.ratio, figure.passed), ("borg", 0.85, False))

    def test_a_rate_passes_from_its_bound_upwards_against_the_slower_reference(self):
        name = "sequential read"
        journal = journal_of(
            (name, "D2 archive", "cold", "reelfs", "MB/s", [70.0]), (name, "D2 archive", "cold", "native", "MB/s", [200.0]),
            (name, "D2 archive", "cold", "zstd -d", "MB/s", [100.0]),
        )
        (figure,) = figures.against_targets(journal)
        self.assertEqual((figure.reference, figure.ratio, figure.passed), ("zstd -d", 0.7, True))

    def test_an_absolute_bound_needs_no_reference(self):
        (figure,) = figures.against_targets(journal_of(("mount ready", "synthetic", "", "reelfs", "s", [0.3])))
        self.assertEqual((figure.reference, figure.passed), (None, False))

    def test_without_a_reference_in_the_run_there_is_no_verdict(self):
        self.assertEqual(figures.against_targets(journal_of(("cp -a", "D1", "cold", "reelfs", "s", [1.0]))), [])


class Reports(unittest.TestCase):
    """Table and plot take whatever figures there are."""

    def test_a_growth_of_zero_is_in_the_table_and_not_on_the_logarithmic_plot(self):
        name = "1 % of pages changed, growth"
        journal = journal_of((name, "D4", "", "reelfs", "B", [0.0]), (name, "D4", "", "borg", "B", [10.0]))
        compared = figures.against_targets(journal)
        self.assertIn(name, table.markdown({}, compared, figures.of_all_systems(journal), []))
        self.assertIsNone(plot.svg(compared))

    def test_a_run_without_reelfs_still_has_a_table(self):
        journal = journal_of(("cp -a", "D1", "cold", "native", "s", [1.0, 2.0]))
        self.assertIn("1.50 s [1.00-2.00]", table.markdown({}, [], figures.of_all_systems(journal), ["reelfs: missing"]))


if __name__ == "__main__":
    unittest.main()

"""What a run measured: every single value, as it comes, and remarks on what was left out."""

import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Sample:
    """One measured value."""

    name: str
    dataset: str
    temperature: str
    system: str
    repetition: int
    value: float
    unit: str


class Journal:
    """Collects samples in order, and writes each one as a JSON line at once, so that a broken run leaves what it had."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")  # held open for the run; closed by close()
        self.samples = []
        self.remarks = []

    def add(self, name, dataset, temperature, system, repetition, value, unit):
        """Keeps one value."""
        sample = Sample(name, dataset, temperature, system, repetition, value, unit)
        self.samples.append(sample)
        self._file.write(json.dumps(asdict(sample)) + "\n")
        self._file.flush()
        print(f"  {name:28} {dataset:12} {temperature:5} {system:10} #{repetition} {value:14,.3f} {unit}", file=sys.stderr)

    def remark(self, text):
        """Keeps a sentence for the report: what was skipped, what failed."""
        if text not in self.remarks:
            self.remarks.append(text)
            print(f"  ! {text}", file=sys.stderr)

    def by_key(self):
        """Values by (name, dataset, temperature), then system, in order of repetition."""
        keys = defaultdict(lambda: defaultdict(list))
        for sample in self.samples:
            keys[sample.name, sample.dataset, sample.temperature][sample.system].append(sample)
        return keys

    def close(self):
        """Closes the file of JSON lines."""
        self._file.close()

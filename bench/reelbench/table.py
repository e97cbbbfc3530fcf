"""The results as Markdown."""

VERDICT = {True: "yes", False: "**no**", None: ""}


def number(value):
    """A number with about three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def quantity(value, unit):
    """A value in a unit that is easy to read."""
    if unit == "B":
        return f"{value / 1e6:,.1f} MB"
    return f"{number(value)} {unit}"


def _spread(figure):
    if figure.samples == 1:
        return quantity(figure.value, figure.unit)
    low, high = quantity(figure.lowest, figure.unit), quantity(figure.highest, figure.unit)
    return f"{quantity(figure.value, figure.unit)} [{low.split(' ')[0]}-{high.split(' ')[0]}]"


def _ratio(figure):
    if figure.ratio is None:
        return ""
    if figure.samples == 1:
        return number(figure.ratio)
    return f"{number(figure.ratio)} [{number(figure.ratio_lowest)}-{number(figure.ratio_highest)}]"


def _target(figure):
    if figure.target is None:
        return ""
    bound = quantity(figure.target, figure.unit) if figure.reference is None else f"{number(figure.target)}x"
    return f"{figure.bound} {bound}"


def _rows(header, rows):
    alignment = ["---:" if title.endswith(":") else "---" for title in header]
    lines = ["| " + " | ".join(title.rstrip(":") for title in header) + " |", "| " + " | ".join(alignment) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def markdown(environment, compared, plain, remarks):
    """The whole report."""
    lines = ["# reelfs measured", "", *(f"- {name}: {value}" for name, value in environment.items()), ""]
    if compared:
        met = [figure.passed for figure in compared if figure.passed is not None]
        lines += ["## Targets", "", f"{sum(met)} of {len(met)} reached. Median and [min-max]; the ratio's spread is that of pairs"
                  " from one repetition. `best` is the ratio of the best runs: closer to the truth on a busy machine.", ""]
        lines += _rows(["what", "data", "cache", "reelfs:", "compared with", "ratio:", "best:", "target:", "reached"], [
            [f.name, f.dataset, f.temperature, _spread(f), f.reference or "", _ratio(f),
             number(f.ratio_of_best) if f.ratio_of_best else "", _target(f), VERDICT[f.passed]]
            for f in compared
        ])
        lines.append("")
    lines += ["## Everything measured", ""]
    lines += _rows(["what", "data", "cache", "system", "median [min-max]:", "runs:"], [
        [f.name, f.dataset, f.temperature, f.system, _spread(f), str(f.samples)] for f in plain
    ])
    if remarks:
        lines += ["", "## Remarks", "", *(f"- {remark}" for remark in remarks)]
    return "\n".join(lines) + "\n"

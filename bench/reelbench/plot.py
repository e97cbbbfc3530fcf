"""The compared figures as an SVG plot: one bar per target on a logarithmic scale, the target marked."""

import math
from html import escape

ROW_HEIGHT, TOP, BOTTOM = 22, 66, 34
LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH = 350, 460, 130
WIDTH = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
COLOURS = {True: "#3a8f5c", False: "#c2503f", None: "#8a93a0"}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#666}"
    ".grid{stroke:#ddd}.one{stroke:#888}.target{stroke:#111;stroke-width:2.5}.spread{stroke:#222;stroke-opacity:.55}"
)


class Bar:
    """A figure as a cost: the lower the better, also where the figure is a rate or has an absolute bound."""

    def __init__(self, figure):
        self.figure = figure
        if figure.reference is None:
            low, middle, high, self.target = (v / figure.target for v in (figure.lowest, figure.value, figure.highest, figure.target))
            against = "bound"
        else:
            low, middle, high, self.target = figure.ratio_lowest, figure.ratio, figure.ratio_highest, figure.target
            against = figure.reference
        if figure.unit.endswith("/s"):  # a rate: invert it, so that every bar to the left is good
            low, middle, high = 1 / high, 1 / middle, 1 / low
            self.target = 1 / self.target if self.target else None
        self.low, self.cost, self.high = low, middle, high
        words = " ".join(word for word in (figure.name, figure.dataset, figure.temperature) if word)
        self.label = f"{words} / {against}"

    def values(self):
        """Everything that has to fit on the scale."""
        return [value for value in (self.low, self.cost, self.high, self.target) if value]


class Scale:
    """Costs to x coordinates."""

    def __init__(self, bars):
        exponents = [math.log10(value) for bar in bars for value in bar.values()] + [0.0]
        self.first, self.last = math.floor(min(exponents)), max(math.ceil(max(exponents)), math.floor(min(exponents)) + 1)

    def x(self, value):
        """Where `value` lies; nothing lies left of the plot."""
        exponent = max(math.log10(value), self.first) if value > 0 else self.first
        return LABEL_WIDTH + PLOT_WIDTH * (exponent - self.first) / (self.last - self.first)

    def ticks(self):
        """1, 2 and 5 of each decade."""
        values = [step * 10.0**decade for decade in range(self.first, self.last) for step in (1, 2, 5)]
        return [*values, 10.0**self.last]


def _line(name, x1, y1, x2, y2):
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x, y, words, anchor="start", name=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{name}">{escape(words)}</text>'


def _axis(scale, height):
    bottom = height - BOTTOM
    for value in scale.ticks():
        x = scale.x(value)
        yield _line("one" if value == 1 else "grid", x, TOP - 8, x, bottom)
        yield _text(x, bottom + 15, f"{value:g}", "middle", "small")


def _bar(bar, scale, y):
    middle, left = y + ROW_HEIGHT / 2, scale.x(min(1, bar.cost))
    width = max(scale.x(max(1, bar.cost)) - left, 1)
    yield _text(LABEL_WIDTH - 10, middle + 4, bar.label, "end")
    yield (f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW_HEIGHT - 8}" '
           f'fill="{COLOURS[bar.figure.passed]}"/>')
    yield _line("spread", scale.x(bar.low), middle, scale.x(bar.high), middle)
    if bar.target:
        yield _line("target", scale.x(bar.target), y + 1, scale.x(bar.target), y + ROW_HEIGHT - 1)
    verdict = f"{bar.cost:.2f}" + (f" (target {bar.target:.2f})" if bar.target else "")
    yield _text(LABEL_WIDTH + PLOT_WIDTH + 10, middle + 4, verdict, name="small")


def svg(figures):
    """The plot, or None where there is nothing to compare."""
    bars = [Bar(figure) for figure in figures if figure.value > 0 and (figure.reference or figure.target)]
    if not bars:
        return None
    scale, height = Scale(bars), TOP + ROW_HEIGHT * len(bars) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{STYLE}</style>", f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(14, 24, "reelfs: cost as a multiple of native ext4, of the best peer, or of a bound", name="title"),
        _text(14, 42, "Bars start at 1; left is better; rates are inverted. Black mark: target. Thin line: spread of repetitions."
              " Green: reached, red: not, grey: no target.", name="small"),
        *_axis(scale, height),
    ]
    for row, bar in enumerate(bars):
        lines += _bar(bar, scale, TOP + row * ROW_HEIGHT)
    return "\n".join([*lines, "</svg>"]) + "\n"

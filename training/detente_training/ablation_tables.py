"""Results of ablations as one table (terminal, Markdown, JSON) and as learning curves (SVG)."""

from __future__ import annotations

import importlib.util
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from detente.errors import DataError, MissingExtraError
from detente_training.ablations import Variant
from detente_training.report import Report
from detente_training.tables import FIGURES, UNDEFINED, headline_figures, number
from detente_training.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from detente_training.ablation_runs import Result

WORST_ECE = "worst ECE"
COLUMNS = {  # heading -> figure
    "topics\nmacro-\nF1": "topics macro-F1",
    "voices\nF1": "voices F1",
    "voice+\nstance\nF1": "voice+stance F1",
    "stance\nmacro-\nF1": "stance macro-F1",
    "par.\nstance\nmacro-\nF1": "paragraph stance macro-F1",
    "worst\nECE": WORST_ECE,
}
PLOTTED = ("topics macro-F1", "voices F1", "voice+stance F1", "paragraph stance macro-F1")
LINES = (("#1b5e9b", "o", "-"), ("#b4451f", "s", "--"), ("#4c7a34", "^", ":"), ("#6b4c9a", "D", "-."))


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over seeds.

    Attributes:
        mean: over the seeds for which it is defined; None where it is for none.
        sd: standard deviation of the sample; None with fewer than two.
        difference: mean, over the seeds that both have, of this less that of the variant it is held against.
    """

    mean: float | None
    sd: float | None
    difference: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of the table; the figures by their names in `tables.FIGURES`, and WORST_ECE of its four."""

    variant: Variant
    seeds: tuple[int, ...]
    figures: Mapping[str, Spread]
    minutes: float | None
    parameters: int | None


def summarise(variants: Mapping[str, Variant], results: Iterable[Result]) -> list[Row]:
    """A row for each variant that has results, in the order of the variants."""
    by_variant: dict[str, dict[int, Result]] = {}
    for result in results:
        by_variant.setdefault(result.variant, {})[result.seed] = result
    rows = []
    for name, variant in variants.items():
        if not (own := by_variant.get(name)):
            continue
        values = {seed: _values(own[seed].report) for seed in sorted(own)}
        others = {seed: _values(r.report) for seed, r in by_variant.get(variant.against or "", {}).items()}
        minutes = [r.minutes for r in own.values() if r.minutes is not None]
        rows.append(
            Row(
                variant,
                tuple(values),
                {figure: _spread(figure, values, others) for figure in (*FIGURES, WORST_ECE)},
                statistics.mean(minutes) if minutes else None,
                next((r.parameters for r in own.values() if r.parameters is not None), None),
            )
        )
    return rows


def _values(report: Report) -> dict[str, float]:
    values = {k: f.value for k, f in headline_figures(report).items() if f is not None and f.value is not None}
    errors = [value for name, value in values.items() if name.startswith("ECE")]
    return values | ({WORST_ECE: max(errors)} if errors else {})


def _spread(figure: str, own: Mapping[int, Mapping[str, float]], others: Mapping[int, Mapping[str, float]]) -> Spread:
    values = {seed: found[figure] for seed, found in own.items() if figure in found}
    differences = [value - others[seed][figure] for seed, value in values.items() if figure in others.get(seed, {})]
    return Spread(
        statistics.mean(values.values()) if values else None,
        statistics.stdev(values.values()) if len(values) > 1 else None,
        statistics.mean(differences) if differences else None,
    )


def render_rows(rows: Sequence[Row]) -> RenderableType:
    """The table for the terminal: under each figure its spread, and its difference to what it is held against."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("variant", overflow="fold")
    for heading in ("seeds", *COLUMNS, "min", "trained\nweights"):
        table.add_column(heading, justify="right", no_wrap=True)
    group = None
    for row in rows:
        if row.variant.group != group:
            group = row.variant.group
            table.add_row(f"[bold]{escape(group)}[/bold]")
        against = f"\n[dim]against {escape(row.variant.against)}[/dim]" if row.variant.against else ""
        table.add_row(
            f"{escape(row.variant.name)}\n[dim]{escape(row.variant.what)}[/dim]{against}",
            str(len(row.seeds)),
            *("\n".join(_parts(row.figures[figure])) for figure in COLUMNS.values()),
            *_cost(row),
        )
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The table for a page of the documentation, with a line that says what is in a cell."""
    headings = [heading.replace("-\n", "-").replace("+\n", "+").replace("\n", " ") for heading in COLUMNS]
    lines = [
        "A cell has the mean over seeds ± the standard deviation, and in brackets the mean difference to the variant "
        "named under `against`, over the seeds that both have. Scored are the held-out documents, each half of them "
        "under the calibration that was fitted to the other half. ECE is the largest expected calibration error of the "
        "four (topics, voice presence, stance, paragraph stance).",
        "",
        _markdown_row(
            ["group", "variant", "what changed", "against", "seeds", *headings, "minutes", "trained weights"]
        ),
        "|" + "---|" * 5 + "---:|" * (len(headings) + 2),
    ]
    group = None
    for row in rows:
        shown = "" if row.variant.group == group else row.variant.group
        group = row.variant.group
        names = [shown, f"`{row.variant.name}`", row.variant.what]
        names.append(f"`{row.variant.against}`" if row.variant.against else "")
        cells = [" ".join(_parts(row.figures[figure], "({})")) for figure in COLUMNS.values()]
        lines.append(_markdown_row([*names, str(len(row.seeds)), *cells, *_cost(row)]))
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _parts(spread: Spread, difference: str = "{}") -> list[str]:
    """A cell: the mean, the standard deviation and the difference, as far as there are any."""
    if spread.mean is None:
        return [UNDEFINED]
    parts = [number(spread.mean)]
    if spread.sd is not None:
        parts.append(f"±{number(spread.sd)}")
    if spread.difference is not None:
        shown = number(abs(spread.difference))
        sign = "±" if shown == ".000" else "+" if spread.difference > 0 else "\N{MINUS SIGN}"
        parts.append(difference.format(f"{sign}{shown}"))
    return parts


def _cost(row: Row) -> tuple[str, str]:
    weights = UNDEFINED if row.parameters is None else f"{row.parameters / 1e6:.2f}M"
    return UNDEFINED if row.minutes is None else f"{row.minutes:.0f}", weights


def plain(rows: Sequence[Row], results: Sequence[Result]) -> list[dict[str, Any]]:
    """The rows, and the figures of every single run, ready for JSON."""
    return [
        {
            **row.variant.model_dump(mode="json"),
            "figures": {name: asdict(spread) for name, spread in row.figures.items()},
            "minutes": row.minutes,
            "parameters": row.parameters,
            "runs": [
                {"seed": r.seed, "minutes": r.minutes, "real": r.real, "figures": _values(r.report)}
                for r in sorted(results, key=lambda r: r.seed)
                if r.variant == row.variant.name
            ],
        }
        for row in rows
    ]


def require_matplotlib() -> None:
    """Raises MissingExtraError where there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError('a plot needs matplotlib, which is not installed: pip install "detente[plots]"')


def plot_curves(variants: Mapping[str, Variant], results: Sequence[Result], path: Path) -> None:
    """Draws the learning curves: four figures over the number of real paragraphs, a line for each `curve`.

    The file depends on the results alone.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: no variant with a `curve` has a result.
    """
    curves: dict[str, dict[int, list[Result]]] = {}
    for result in results:
        curve = variants[result.variant].curve
        if curve is not None and result.real is not None:
            curves.setdefault(curve, {}).setdefault(result.real, []).append(result)
    if not curves:
        raise DataError("there is no learning curve to draw: no variant with a `curve` has a result yet")
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    text = io.StringIO()
    # Text stays text: it can be searched, and does not depend on the version of a font library.
    with rc_context({"svg.hashsalt": "detente", "svg.fonttype": "none", "font.size": 11}):
        drawing = Figure(figsize=(9, 7), layout="constrained", facecolor="white")
        for axes, figure in zip(drawing.subplots(2, 2).flat, PLOTTED, strict=True):
            _panel(axes, figure, curves)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(curves), frameon=False)
        drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    with whole_file(path) as file:
        file.write(text.getvalue())


def _panel(axes: Axes, figure: str, curves: Mapping[str, Mapping[int, Sequence[Result]]]) -> None:
    sizes = sorted({real for points in curves.values() for real in points})
    for (curve, points), (colour, marker, dashes) in zip(sorted(curves.items()), LINES * len(curves), strict=False):
        drawn = [
            (real, [v[figure] for r in points[real] if figure in (v := _values(r.report))]) for real in sorted(points)
        ]
        drawn = [(real, values) for real, values in drawn if values]
        axes.errorbar(
            [real for real, _ in drawn],
            [statistics.mean(values) for _, values in drawn],
            [statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in drawn],
            color=colour, marker=marker, linestyle=dashes, capsize=3, label=curve,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_title(figure, fontsize=11)
    axes.set_xlabel("real paragraphs (log scale)")
    axes.grid(alpha=0.3)

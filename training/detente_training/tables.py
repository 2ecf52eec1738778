"""Reports as rich tables for the terminal: each figure with its interval and its support."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from detente_training.estimates import Figure
from detente_training.report import Confusion, Report, Scores, StanceReport

UNDEFINED = "-"


def number(value: float) -> str:
    """Three decimals without the leading zero, four characters wide: .812, 1.00."""
    return f"{value:.3f}".removeprefix("0")[:4]


def show(figure: Figure | None) -> str:
    """A figure and its interval in brackets, as ".812 [.790 .833]"; a dash where it is undefined."""
    if figure is None or figure.value is None:
        return UNDEFINED
    if figure.low is None or figure.high is None:
        return number(figure.value)
    return rf"{number(figure.value)} [dim]\[{number(figure.low)} {number(figure.high)}][/dim]"


FIGURES = (
    "topics macro-F1",
    "voices F1",
    "voices F1, exact",
    "voice+stance F1",
    "stance macro-F1",
    "stance accuracy",
    "paragraph stance macro-F1",
    "paragraph stance accuracy",
    "ECE topics",
    "ECE voice presence",
    "ECE stance",
    "ECE paragraph stance",
)


def headline_figures(report: Report) -> dict[str, Figure | None]:
    """The figures of the headline table, by the names in FIGURES; None for a task that is not measured."""
    topics, voices = report.topics, report.voices
    stance, paragraph = report.stance, report.paragraph_stance
    figures = (
        topics.macro.f1 if topics else None,
        voices.overlap.f1 if voices else None,
        voices.exact.f1 if voices else None,
        voices.with_stance.f1 if voices else None,
        stance.macro_f1 if stance else None,
        stance.accuracy if stance else None,
        paragraph.macro_f1 if paragraph else None,
        paragraph.accuracy if paragraph else None,
        topics.ece if topics else None,
        voices.ece if voices else None,
        stance.ece if stance else None,
        paragraph.ece if paragraph else None,
    )
    return dict(zip(FIGURES, figures, strict=True))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _under(title: str, table: Table) -> RenderableType:
    return Group(Text(title, style="bold"), table, "")


def _add_scores(table: Table, name: str, scores: Scores) -> None:
    support = str(scores.f1.support)
    table.add_row(name, show(scores.precision), show(scores.recall), show(scores.f1), support)


def _confusion(confusion: Confusion) -> Table:
    table = _table("gold \\ predicted", *confusion.columns)
    for row, counts in zip(confusion.rows, confusion.counts, strict=True):
        cells = [
            f"[bold]{count}[/bold]" if column == row else str(count)
            for column, count in zip(confusion.columns, counts, strict=True)
        ]
        table.add_row(row, *cells)
    return table


def _stance(title: str, report: StanceReport) -> list[RenderableType]:
    table = _table("stance", "precision", "recall", "F1", "support")
    for name, scores in report.labels.items():
        _add_scores(table, name, scores)
    return [_under(title, table), _under(f"{title}: confusion", _confusion(report.confusion))]


def render_report(report: Report, title: str = "Evaluation") -> RenderableType:
    """All figures of a report as tables, the headline figures first."""
    interval = f", {report.resamples} resamples by document" if report.resamples else ""
    head = _table("figure", r"value \[95%]" if report.resamples else "value", "support")
    for name, figure in headline_figures(report).items():
        head.add_row(name, show(figure), str(figure.support) if figure else UNDEFINED)
    counts = f"{report.paragraphs} paragraphs, {report.documents} documents"
    parts: list[RenderableType] = [_under(f"{title}: {counts}{interval}", head)]
    if report.topics:
        table = _table("topic", "precision", "recall", "F1", "support")
        for name, scores in report.topics.labels.items():
            _add_scores(table, name, scores)
        _add_scores(table, "macro", report.topics.macro)
        parts.append(_under("Topics", table))
    if report.voices:
        table = _table("match", "precision", "recall", "F1", "support")
        _add_scores(table, "overlap", report.voices.overlap)
        _add_scores(table, "  mentions", report.voices.mentions)
        _add_scores(table, "  narrator", report.voices.narrator)
        _add_scores(table, "exact", report.voices.exact)
        _add_scores(table, "with stance", report.voices.with_stance)
        parts.append(_under(f"Voices ({report.voices.found} found)", table))
    if report.stance:
        parts += _stance("Stance on gold mentions", report.stance)
    if report.paragraph_stance:
        parts += _stance("Paragraph stance", report.paragraph_stance)
    return Group(*parts)


GROUP_FIGURES = {  # heading of the column -> figure
    "topics\nmacro-F1": "topics macro-F1",
    "voices\nF1": "voices F1",
    "voice+stance\nF1": "voice+stance F1",
    "stance\nmacro-F1": "stance macro-F1",
    "par. stance\nmacro-F1": "paragraph stance macro-F1",
}


def render_groups(groups: Mapping[str, Mapping[str, Report]]) -> RenderableType:
    """One table for each field of `by_group`: a row for each value; in a cell value, interval and support."""
    tables = []
    for field, reports in groups.items():
        table = _table(field, *GROUP_FIGURES)
        for value, report in reports.items():
            figures = headline_figures(report)
            cells = [_cell(figures[name]) for name in GROUP_FIGURES.values()]
            table.add_row(f"{escape(value)}\n[dim]{report.documents} documents[/dim]", *cells)
        tables.append(_under(f"By {field} (n: support)", table))
    return Group(*tables)


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return UNDEFINED
    value = f"{number(figure.value)} [dim]n={figure.support}[/dim]"
    if figure.low is None or figure.high is None:
        return value
    return f"{value}\n[dim]{number(figure.low)} {number(figure.high)}[/dim]"


def render_comparison(title: str, methods: Mapping[str, Mapping[str, Figure | None]]) -> RenderableType:
    """One row for each method, a column for each of five figures; a dash where it says nothing of one.

    Args:
        methods: for each method its figures, by the names in FIGURES.
    """
    table = _table("method", *GROUP_FIGURES)
    for method, figures in methods.items():
        table.add_row(escape(method), *(_cell(figures.get(name)) for name in GROUP_FIGURES.values()))
    return _under(f"{title} (n: support)", table)

"""Trains named variants, scores them on held-out documents, and prints one table of all results so far.

    python scripts/ablate.py --list
    python scripts/ablate.py curve two-stages --data realtrain.jsonl --seeds 13,14,15
    python scripts/ablate.py reference --data realtrain.jsonl --table docs/ablations.md --plot docs/curves.svg

Variants stand in `scripts/ablations.yaml`. Each of them has for each seed a run folder OUTPUT/VARIANT/SEED. What is
there is not made again, and what was interrupted goes on, so the same command may be given until all is done.
Checkpoints, and bundles that no variant is read from or started with, are removed after scoring unless `--keep`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from detente.errors import DataError, DetenteError
from detente_training.ablation_tables import markdown, plain, plot_curves, render_rows, require_matplotlib, summarise
from detente_training.ablations import Variant, chosen, configuration, read_ablations
from detente_training.whole_files import whole_file

if TYPE_CHECKING:
    from detente_training.ablation_runs import Bench, Result

app = typer.Typer(add_completion=False)


def read_seeds(text: str) -> list[int]:
    """Reads seeds joined by commas, as in "13,14,15"."""
    seeds = [seed.strip() for seed in text.split(",")]
    if not all(seed.isascii() and seed.isdecimal() for seed in seeds):
        raise DataError(f"`--seeds {text}` must be whole numbers joined by commas, as in 13,14,15")
    return list(dict.fromkeys(map(int, seeds)))


def results_so_far(bench: Bench) -> list[Result]:
    found = [bench.result(name, seed) for name in bench.variants for seed in bench.seeds(name)]
    return [result for result in found if result is not None]


def run_all(bench: Bench, names: list[str], seeds: list[int]) -> bool:
    """Runs every variant with the first seed, then with the next; False where Ctrl-C ended it."""
    from detente_training.train import InterruptedRunError

    steps = [(seed, name) for seed in seeds for name in names]
    try:
        for number, (seed, name) in enumerate(steps, start=1):
            there = bench.result(name, seed) is not None
            told = f"{number} of {len(steps)}: {escape(name)}, seed {seed}" + (", done before" if there else "")
            bench.console.print(f"[bold]{told}[/bold]")
            bench.run(name, seed)
    except (KeyboardInterrupt, InterruptedRunError):
        bench.console.print("stopped; the same command goes on from here")
        return False
    return True


def print_list(variants: Mapping[str, Variant], output: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    group = None
    for name, variant in variants.items():
        if variant.group != group:
            group = variant.group
            console.print(f"[bold]{escape(group)}[/bold]")
        there = len(list((output / name).glob("*/result.json")))
        console.print(f"  {escape(name)}: {escape(variant.what)}" + (f" ({there} done)" if there else ""))


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VARIANT]...", help="Variants or groups. Default: all.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Labelled real paragraphs; their validation documents are scored on. May be repeated."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, joined by commas.")] = "13,14,15",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of all runs.")] = Path("runs/ablate"),
    config: Annotated[Path, typer.Option(help="The file of variants.")] = Path("scripts/ablations.yaml"),
    show_list: Annotated[bool, typer.Option("--list", help="List groups and variants, and run nothing.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep all checkpoints and bundles.")] = False,
    table: Annotated[Path | None, typer.Option(help="Also write the table to this Markdown file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the learning curves to this SVG file.")] = None,
) -> None:
    """Train and score variants; print a table of every result in the output folder."""
    try:
        variants = read_ablations(config)
        if show_list:
            print_list(variants, output)
            return
        selected, numbers = chosen(variants, names or ()), read_seeds(seeds)
        if not data:
            raise DataError("name the labelled real paragraphs: --data realtrain.jsonl")
        if plot is not None:
            require_matplotlib()
        for variant in variants.values():  # mistakes show before the first hour is spent
            if variant.bundle is None:
                configuration(variant, data, numbers[0])
        from detente_training.ablation_runs import Bench

        bench = Bench(variants, tuple(data), output, keep, Console(stderr=True))
        results_so_far(bench)  # so do results that were made from something else
        finished = run_all(bench, selected, numbers)
        results = results_so_far(bench)
        rows = summarise(variants, results)
        if rows:
            Console(highlight=False).print(render_rows(rows))
        if table is not None:
            with whole_file(table) as file:
                file.write(markdown(rows))
        if json_file is not None:
            with whole_file(json_file) as file:
                file.write(json.dumps(plain(rows, results), indent=1) + "\n")
        if plot is not None:
            plot_curves(variants, results, plot)
    except DetenteError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if not finished:
        raise typer.Exit(130)


if __name__ == "__main__":
    app()

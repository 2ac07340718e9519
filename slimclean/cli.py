"""The command line: parse, one call, exit code. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slimclean import __version__
from slimclean.errors import SlimcleanError, UsageError
from slimclean.train.config import TrainConfig

if TYPE_CHECKING:
    from slimclean.batch import Watch
    from slimclean.report import FileResult

app = typer.Typer(
    help="Clean speech recordings in batches, spending compute where it pays.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Uf = float | Literal["auto"]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Packaged name or checkpoint file; see `slimclean models`.")
]


def main() -> None:
    """Entry point. Typer exits with 2 for wrong usage and 130 for an interrupt."""
    app()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn our exceptions into one line on stderr: exit 2 for a wrong request, 1 for the rest."""
    try:
        yield
    except SlimcleanError as error:
        print(f"slimclean: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error


def _parse_uf(text: str) -> Uf:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"auto or a number above 0 and at most 1, not {text!r}") from error


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"slimclean {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def enhance(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings, or folders of them.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder, or a file for one input. Default: NAME-enhanced beside it."
        ),
    ] = None,
    uf: Annotated[
        str, typer.Option(help="Utilization factor: auto (the router decides), or a number in (0, 1].")
    ] = "auto",
    target_uf: Annotated[float, typer.Option(help="Mean UF that auto aims for, 0.1 to 1.")] = 0.25,
    model: Model = None,
    report: Annotated[Path | None, typer.Option(help="Write a CSV row per recording.")] = None,
    highband: Annotated[
        str, typer.Option(help="Content above 8 kHz: gate (follow the network), keep or drop.")
    ] = "gate",
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist instead of skipping.")] = False,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary; errors only.")] = False,
) -> None:
    """Enhance recordings; folders are walked and mirrored.

    Sample rate, channels, length and encoding stay as they are. A recording that fails is
    reported and does not stop the others.

    Exit code: 0 all fine, 1 some recording failed, 2 wrong usage, 130 interrupted.

    Example: slimclean enhance ./recordings -o ./clean --uf auto --report report.csv
    """
    with _one_line_errors():
        parsed_uf = _parse_uf(uf)
        from slimclean.batch import enhance_paths
        from slimclean.enhancer import Enhancer
        from slimclean.report import summary

        enhancer = Enhancer(parsed_uf, target_uf, model, device=device, highband=highband)  # type: ignore[arg-type]
        with _Progress(quiet) as progress:
            results = enhance_paths(
                paths, output, enhancer, overwrite=overwrite, report=report, watch=progress.watch()
            )
        if not quiet:
            print(f"slimclean: {summary(results)}", file=sys.stderr)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


class _Progress:
    """A bar in seconds of audio on stderr, if that is a terminal, and a line per failure."""

    def __init__(self, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=1.0, disable=True if quiet else None, dynamic_ncols=True, delay=0.1, leave=False)

    def watch(self) -> Watch:
        from slimclean.batch import Watch

        return Watch(self._planned, self._bar.update, self._finished)

    def _planned(self, seconds: float) -> None:
        self._bar.bar_format = _BAR
        self._bar.reset(max(seconds, 1e-3))  # a total of 0 is no total to tqdm

    def _finished(self, result: FileResult) -> None:
        if result.status == "failed":
            self._bar.clear()
            print(f"slimclean: {result.file}: {result.error}", file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


_BAR = "{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio, {rate_fmt}, {remaining} left"


@app.command()
def models() -> None:
    """List the packaged checkpoints: name, size, licence, scores, sha256."""
    with _one_line_errors():
        from slimclean import checkpoint

        for entry in checkpoint.packaged():
            print(f"{entry.name}  {entry.bytes / 1e6:.1f} MB  {entry.info.get('licence', '')}")
            for line in entry.info.get("scores", []):
                print(f"  {line}")
            print(f"  sha256 {entry.sha256()}")


@app.command()
def score(
    reference: Annotated[Path, typer.Argument(help="Clean references: a folder, or one file.", exists=True)],
    estimate: Annotated[Path, typer.Argument(help="What to score: a folder, or one file.", exists=True)],
    noisy: Annotated[
        Path | None, typer.Option(help="What it was made from; adds the improvement of each measure.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a CSV row per pair.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Comma-separated measures, `core` (PESQ-WB, STOI, SI-SDR) or `all`.")
    ] = "core",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes; 0: one per core.")] = 1,
) -> None:
    """Score recordings against clean references.

    Pairs by relative path; extensions and a final "-enhanced" are ignored. Signals are compared at 16 kHz,
    channel by channel. Prints mean, standard deviation and 95 % bootstrap interval per measure.

    Exit code: 0 all fine, 1 some pair failed, 2 wrong usage.

    Example: slimclean score ./clean ./enhanced --noisy ./noisy -o scores.csv
    """
    with _one_line_errors():
        from slimclean import scoring
        from slimclean.metrics import CORE, METRICS
        from slimclean.report import table, write_rows

        names = {"core": list(CORE), "all": list(METRICS)}.get(metrics) or metrics.split(",")
        columns = scoring.columns_of(names, improvement=noisy is not None)
        pairs = scoring.pair_up(reference, estimate, noisy)
        scores = scoring.score_pairs(pairs, names, jobs=jobs or -1)
        print(table(scoring.summarise(scores, columns)))
        if output is not None:
            write_rows(output, [score.row(columns) for score in scores])
        failed = [score for score in scores if score.status == "failed"]
        for one in failed:
            print(f"slimclean: {one.file}: {one.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    clean: Annotated[Path, typer.Argument(help="Folder of clean references.", exists=True, file_okay=False)],
    noisy: Annotated[Path, typer.Argument(help="Folder of noisy counterparts.", exists=True, file_okay=False)],
    model: Model = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the rows as CSV.")] = None,
    device: Device = "auto",
) -> None:
    """Score static UFs and auto on pairs: PESQ-WB, STOI, SI-SDR against MACs per sample.

    Needs the extra `score` for PESQ and STOI; without it their columns stay empty.
    """
    with _one_line_errors():
        from slimclean import checkpoint, evaluation
        from slimclean.enhancer import pick_device
        from slimclean.report import table, write_rows

        network = checkpoint.load(model)[0].to(pick_device(device))
        pairs = evaluation.folder_pairs(clean, noisy)
        rows = list(evaluation.evaluate(network, pairs))
        print(table(rows))
        if output is not None:
            write_rows(output, rows)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Run folder; a run interrupted there is resumed.")],
    manifest: Annotated[
        Path | None, typer.Option(help="CSV with path, kind (speech, noise), corpus, split (train, valid).")
    ] = None,
    speech: Annotated[list[Path] | None, typer.Option(help="Folder of clean speech; repeatable.")] = None,
    noise: Annotated[list[Path] | None, typer.Option(help="Folder of noise; repeatable.")] = None,
    rooms: Annotated[
        Path | None, typer.Option(help="Folder of room impulse responses; default: simulated rooms.")
    ] = None,
    corpus_weight: Annotated[
        list[str] | None, typer.Option(help="NAME=FACTOR: draw a corpus more or less often; repeatable.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Decoded audio; default: OUT/cache.")] = None,
    init: Annotated[str | None, typer.Option(help="Start from these weights: packaged name or file.")] = None,
    name: Annotated[str, typer.Option(help="Name of the checkpoint written to OUT.")] = "model",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for their header.")] = "",
    steps: Annotated[int, typer.Option(min=1)] = TrainConfig.steps,
    batch: Annotated[int, typer.Option(min=3, help="Examples a step.")] = TrainConfig.batch,
    segment_s: Annotated[float, typer.Option(help="Seconds per example.")] = TrainConfig.segment_s,
    lr: Annotated[float, typer.Option(help="Learning rate of Muon and AdamW.")] = TrainConfig.lr,
    decay: Annotated[
        float, typer.Option(min=1e-3, max=1, help="Share of steps, the last, that it falls over.")
    ] = TrainConfig.decay,
    beta: Annotated[float, typer.Option(help="Weight of the router's efficiency loss.")] = TrainConfig.beta,
    gamma: Annotated[float, typer.Option(help="Weight of the router's balance loss.")] = TrainConfig.gamma,
    perceptual: Annotated[
        float, typer.Option(help="Weight of the sketch of PESQ, for the end of a run: 0.015.")
    ] = TrainConfig.perceptual,
    seed: int = TrainConfig.seed,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that share a step; 0: every core.")
    ] = TrainConfig.workers,
    loaders: Annotated[int, typer.Option(min=0, help="Processes that mix examples.")] = TrainConfig.loaders,
    valid_every: Annotated[
        int, typer.Option(min=1, help="Steps between validations.")
    ] = TrainConfig.valid_every,
    valid_count: Annotated[int, typer.Option(min=0, help="Validation mixtures of 4 s; 0: none.")] = 24,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Train backbone and router on speech and noise, mixed on the fly.

    Give a manifest, or folders; with folders, every 20th file is kept for validation.
    Writes OUT/NAME.safetensors every few minutes, and train.csv and valid.csv beside it.

    Example: slimclean train runs/first --speech ./speech --noise ./noise --steps 20000
    """
    with _one_line_errors():
        from slimclean.train.run import train_from_files

        config = TrainConfig(
            out=out,
            name=name,
            steps=steps,
            batch=batch,
            segment_s=segment_s,
            lr=lr,
            decay=decay,
            beta=beta,
            gamma=gamma,
            perceptual=perceptual,
            seed=seed,
            valid_every=valid_every,
            workers=workers,
            loaders=loaders,
            device=device,
            precision=precision,
            info={"licence": licence},
        )
        path = train_from_files(
            config,
            manifest=manifest,
            speech=speech or [],
            noise=noise or [],
            rooms=rooms,
            corpus_weights=corpus_weight or [],
            cache=cache,
            init=init,
            valid_count=valid_count,
        )
        print(path)

"""`slimclean enhance`."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slimclean.batch.task import STREAM
from slimclean.cli import reports
from slimclean.cli.common import (
    MOST_CORES,
    Device,
    Model,
    Precision,
    TargetUf,
    Threads,
    UfText,
    complain,
    one_line_errors,
    use_threads,
    with_options,
)
from slimclean.cli.dry_run import print_plan
from slimclean.cli.progress import ProgressBar, tell_warnings
from slimclean.cli.settings import all_inputs, tell_file
from slimclean.cli.values import parse_bit_rate, parse_loudness, parse_uf
from slimclean.defaults import TARGET_UF

if TYPE_CHECKING:
    from slimclean.batch.options import Options
    from slimclean.batch.task import Task

_STRENGTH, _OUTPUTS, _LOUDNESS, _RUN = "Strength", "Outputs", "Loudness", "Running"


def enhance(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            readable=False,  # what cannot be read is a row, not the end of the others
            help="Recordings, folders of them, patterns, or - for stdin.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Folder, a file for one input, or - for stdout. Default: NAME-enhanced beside it.",
        ),
    ] = None,
    uf: UfText = "auto",
    target_uf: TargetUf = TARGET_UF,
    model: Model = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a row per recording, beside those of earlier runs: .csv or .jsonl."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of clean references: adds PESQ, STOI and SI-SDR to the report.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw a picture per recording into this folder (needs matplotlib).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with table, pictures and players.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Options for a purpose; see `slimclean presets`.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="File of options. Default: slimclean.toml beside the recordings.")
    ] = None,
    highband: Annotated[
        str,
        typer.Option(
            help="Content above 8 kHz: gate (follow the network), keep or drop.", rich_help_panel=_STRENGTH
        ),
    ] = "gate",
    dry: Annotated[
        float, typer.Option(help="Share of the input left in, 0 to 1.", rich_help_panel=_STRENGTH)
    ] = 0.0,
    atten_lim_db: Annotated[
        float | None, typer.Option(help="Let nothing fall by more than this.", rich_help_panel=_STRENGTH)
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="Write what was removed instead.", rich_help_panel=_STRENGTH)
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="Container: wav, flac, ogg, opus, mp3 ...", rich_help_panel=_OUTPUTS),
    ] = None,
    subtype: Annotated[
        str | None, typer.Option(help="Encoding: PCM_16, PCM_24, FLOAT ...", rich_help_panel=_OUTPUTS)
    ] = None,
    sample_rate: Annotated[int | None, typer.Option(help="In Hz.", rich_help_panel=_OUTPUTS)] = None,
    bitrate: Annotated[
        str | None,
        typer.Option(
            help="Of MP3, Opus, Vorbis and AAC, such as 96k. Default: the input's.", rich_help_panel=_OUTPUTS
        ),
    ] = None,
    mono: Annotated[
        bool, typer.Option("--mono", help="Mix channels down first.", rich_help_panel=_OUTPUTS)
    ] = False,
    track: Annotated[
        int | None,
        typer.Option(
            "--track",
            min=1,
            help="Which of several sound tracks, from 1. Default: the default one.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    keep_mtime: Annotated[
        bool, typer.Option("--keep-mtime", help="Keep the time of last change.", rich_help_panel=_OUTPUTS)
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the inputs.", rich_help_panel=_OUTPUTS)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace outputs that exist instead of skipping.", rich_help_panel=_OUTPUTS
        ),
    ] = False,
    loudness: Annotated[
        str,
        typer.Option(
            metavar="LUFS",
            help="Make outputs this loud, such as -16, batch (-16, --loudness-per batch) or off. Needs PyAV.",
            rich_help_panel=_LOUDNESS,
        ),
    ] = "off",
    loudness_per: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="file, or batch: one gain for all, so that files keep their levels to each other.",
            rich_help_panel=_LOUDNESS,
        ),
    ] = "file",
    true_peak: Annotated[
        float,
        typer.Option(
            metavar="DBTP", help="Ceiling of the true peak; a limiter keeps it.", rich_help_panel=_LOUDNESS
        ),
    ] = -1.0,
    input_list: Annotated[
        Path | None,
        typer.Option(help="File with one path a line, # for comments, or - for stdin.", rich_help_panel=_RUN),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the options that hold.", rich_help_panel=_RUN)
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure.", rich_help_panel=_RUN)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            min=0,
            max=MOST_CORES,
            help="Recordings at a time, a core each; 0: what pays.",
            rich_help_panel=_RUN,
        ),
    ] = 0,
    backend: Annotated[
        str, typer.Option(help="loky (processes here) or dask (a cluster).", rich_help_panel=_RUN)
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of the Dask scheduler: tcp://...", rich_help_panel=_RUN)
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary; errors only.")] = False,
) -> None:
    """Enhance recordings; folders are walked and mirrored.

    Sample rate, channels, length, encoding and tags stay as they are. A
    recording that fails is reported and does not stop the others. Options may
    come from a file or a preset; --no-mono and its like switch off what is on
    there.

    Exit code: 0 all fine, 1 a recording, a picture or the run failed, 2 wrong
    usage, 130 interrupted.

    Example: slimclean enhance ./recordings -o ./enhanced --html report.html
    """
    with one_line_errors():
        parsed_uf = parse_uf(uf, ctx)
        lufs, per = parse_loudness(loudness, loudness_per, ctx)
        from slimclean.audio import OutputForm
        from slimclean.batch.options import Options
        from slimclean.batch.pipe import enhance_stream
        from slimclean.batch.plan import without_av
        from slimclean.batch.report import summary
        from slimclean.batch.run import enhance_tasks
        from slimclean.enhancer import Enhancer
        from slimclean.model.macs import macs_per_sample

        form = OutputForm(
            extension=format_,
            subtype=subtype,
            sample_rate=sample_rate,
            mono=mono,
            keep_mtime=keep_mtime,
            loudness_lufs=lufs,
            true_peak_dbtp=true_peak,
            bit_rate=parse_bit_rate(bitrate),
            track=track,
        )
        if backend not in ("loky", "dask") or (backend == "dask") != (scheduler is not None):
            raise typer.BadParameter("--backend takes loky or dask; dask goes with --scheduler")
        options = Options(
            form=form,
            overwrite=overwrite,
            in_place=in_place,
            fail_fast=fail_fast,
            references=reference,
            report=report,
            jobs=jobs,
            scheduler=scheduler,
            loudness_per=per,  # type: ignore[arg-type]
            wording=with_options,
        )
        if residual and in_place:
            raise typer.BadParameter("--residual goes without --in-place, which would leave the noise alone")
        inputs = all_inputs(ctx, paths or [], input_list)
        if reference is not None:
            from slimclean.scoring.metrics import CORE, require

            require(CORE)
        reports.check(plots, html, report, dry_run=dry_run)
        use_threads(threads if threads is not None else jobs or None)
        enhancer = Enhancer(
            parsed_uf,
            target_uf,
            model,
            device=device,
            precision=precision,
            highband=highband,  # type: ignore[arg-type]
            dry=dry,
            attenuation_limit_db=atten_lim_db,
            residual=residual,
        )
        left_out: Counter[str] = Counter()
        tasks = _plan(inputs, output, options, left_out, list(filter(None, (html, config))))
        if not quiet and (lack := without_av(tasks, options)):
            complain(lack)
        if dry_run:
            print_plan(ctx, tasks, options, left_out)
            return
        if not quiet:
            tell_file(ctx)
        pictures = reports.pictures(tasks, inputs, plots)
        options = replace(options, look=reports.look(tasks, pictures, html))
        with ProgressBar(quiet) as progress:
            if STREAM in inputs or output == str(STREAM):
                streams = sys.stdin.buffer, sys.stdout.buffer
                results = [enhance_stream(tasks[0], streams, enhancer, options, progress.watch())]
            else:
                results = enhance_tasks(tasks, enhancer, options, progress.watch())
        if not quiet:
            if report is None:
                tell_warnings(results)
            full = macs_per_sample(enhancer.config, [1.0], routed=False)
            complain(summary(results, full, left_out))
        drawn = reports.write(results, enhancer, pictures, html, report)
    if not drawn or any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _plan(
    inputs: list[Path], output: str | None, options: Options, left_out: Counter[str], ours: list[Path]
) -> list[Task]:
    from slimclean.batch.plan import plan_batch, plan_stream

    if STREAM in inputs or output == str(STREAM):
        return [plan_stream(inputs, output, options)]
    return plan_batch(inputs, output, options, left_out, ours)

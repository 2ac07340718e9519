"""`slimclean train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slimclean.cli.common import Device, one_line_errors, one_line_warnings, show
from slimclean.cli.values import parse_numbers
from slimclean.errors import UsageError
from slimclean.train.config import TEACH_COUNT, VALID_COUNT, TrainConfig

_SIZES = "Size of the network (default: that of --init, or of slim-demucs)"


def train(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Run folder; a run interrupted there is resumed.")],
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
    mix: Annotated[
        Path | None, typer.Option(help="File of rows NAME = VALUE that differ from slimclean/train/mix.py.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Decoded audio; default: OUT/cache.")] = None,
    init: Annotated[str | None, typer.Option(help="Start from these weights: packaged name or file.")] = None,
    hidden: Annotated[
        int | None,
        typer.Option(help="Channels of the first level, doubled by each.", rich_help_panel=_SIZES),
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Levels.", rich_help_panel=_SIZES)] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Of every level; kernels are twice as long.", rich_help_panel=_SIZES),
    ] = None,
    upsampling: Annotated[
        int | None, typer.Option(help="Times 16 kHz that the network runs at.", rich_help_panel=_SIZES)
    ] = None,
    gru_groups: Annotated[
        int | None, typer.Option(help="Independent GRUs side by side.", rich_help_panel=_SIZES)
    ] = None,
    look_ahead: Annotated[
        int | None, typer.Option(help="Frames that the decoder hears ahead.", rich_help_panel=_SIZES)
    ] = None,
    router_channels: Annotated[
        int | None, typer.Option(help="Channels of the router.", rich_help_panel=_SIZES)
    ] = None,
    router_stride: Annotated[
        int | None, typer.Option(help="Samples between two of the router's windows.", rich_help_panel=_SIZES)
    ] = None,
    router_dilations: Annotated[
        str | None,
        typer.Option(
            help="Frames between the 5 taps of each of the router's layers, at most 32 in all: 1,2,4,8,16. "
            "Empty: a recurrent router, as older weights have; one of --init keeps its kind.",
            rich_help_panel=_SIZES,
        ),
    ] = None,
    ufs: Annotated[
        str | None,
        typer.Option(help="What the router chooses from: 0.125,0.25,0.5,1.", rich_help_panel=_SIZES),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the checkpoint written to OUT.")] = "model",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for their header.")] = "",
    steps: Annotated[
        int, typer.Option(min=0, help="0 teaches and calibrates the router only.")
    ] = TrainConfig.steps,
    batch: Annotated[int, typer.Option(min=3, max=65_536, help="Examples a step.")] = TrainConfig.batch,
    segment_s: Annotated[float, typer.Option(help="Seconds per example.")] = TrainConfig.segment_s,
    lr: Annotated[float, typer.Option(help="Learning rate of Muon and AdamW.")] = TrainConfig.lr,
    decay: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps, the last ones, in which --lr falls to 0.")
    ] = TrainConfig.decay,
    branch: Annotated[
        Path | None, typer.Option(help="Run folder to go on from for STEPS more, its optimisers included.")
    ] = TrainConfig.branch,
    tasks: Annotated[
        str, typer.Option(help="What a batch's examples are for, in turn: full, static, routed.")
    ] = ",".join(TrainConfig.tasks),
    static_ufs: Annotated[
        str, typer.Option(help="UFs of static examples, each as often; default: any, small ones more often.")
    ] = "",
    targets: Annotated[
        str, typer.Option(help="Target UFs of routed examples: a range, or one number for that alone.")
    ] = ",".join(map(str, TrainConfig.targets)),
    freeze_router: Annotated[
        bool, typer.Option(help="Train the backbone beside the router of --init, which stays as it is.")
    ] = TrainConfig.freeze_router,
    beta: Annotated[float, typer.Option(help="Weight of the router's efficiency loss.")] = TrainConfig.beta,
    gamma: Annotated[float, typer.Option(help="Weight of the router's balance loss.")] = TrainConfig.gamma,
    perceptual: Annotated[
        float, typer.Option(help="Weight of PESQ in the loss: 0.2 to 0.35 once a run has settled.")
    ] = TrainConfig.perceptual,
    intelligibility: Annotated[
        float, typer.Option(help="Weight of 1 - STOI in the loss: around 1.")
    ] = TrainConfig.intelligibility,
    pauses: Annotated[
        float, typer.Option(help="Weight of what is left in pauses in the loss: around 0.08.")
    ] = TrainConfig.pauses,
    opinion: Annotated[
        float,
        typer.Option(
            min=0,
            help="Pull of DNSMOS in the loss, at most so many times the rest's: 0.2 to 2; "
            "needs the extra train-mos.",
        ),
    ] = TrainConfig.opinion,
    opinion_beyond: Annotated[
        float,
        typer.Option(min=0, help="Points that --opinion still asks for beyond those of the clean speech."),
    ] = TrainConfig.opinion_beyond,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = TrainConfig.seed,
    workers: Annotated[
        int, typer.Option(min=0, help="Threads that share a step; 0: every core.")
    ] = TrainConfig.workers,
    loaders: Annotated[
        int, typer.Option(min=0, help="Processes that mix examples; a GPU wants one for each core.")
    ] = TrainConfig.loaders,
    valid_every: Annotated[
        int, typer.Option(min=1, help="Steps between validations.")
    ] = TrainConfig.valid_every,
    valid_count: Annotated[int, typer.Option(min=0, help="Validation mixtures of 4 s; 0: none.")] = VALID_COUNT,
    teach_count: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Mixtures on which the router is taught at the end, and eight times as many in which it hears "
            f"pauses; default: {TEACH_COUNT}, or 0 with --freeze-router.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Train backbone and router on speech and noise, mixed on the fly.

    Give a manifest, or folders; with folders, every 20th file is kept for
    validation. Writes OUT/NAME.safetensors every few minutes, and train.csv
    and valid.csv beside it.

    Example: slimclean train runs/first --speech ./speech --noise ./noise
    """
    with one_line_errors(), one_line_warnings():
        from slimclean.train.run import train_from_files

        config = TrainConfig(
            out=out,
            name=name,
            steps=steps,
            batch=batch,
            segment_s=segment_s,
            lr=lr,
            decay=decay,
            branch=branch,
            tasks=tuple(task.strip() for task in tasks.split(",")),
            static_ufs=parse_numbers("--static-ufs", static_ufs) if static_ufs else (),
            targets=_range(targets),
            freeze_router=freeze_router,
            beta=beta,
            gamma=gamma,
            perceptual=perceptual,
            intelligibility=intelligibility,
            pauses=pauses,
            opinion=opinion,
            opinion_beyond=opinion_beyond,
            seed=seed,
            valid_every=valid_every,
            workers=workers,
            loaders=loaders,
            device=device,
            precision=precision,
            info={"licence": licence},
        )
        sizes: dict[str, Any] = {
            "hidden": hidden,
            "depth": depth,
            "stride": stride,
            "upsampling": upsampling,
            "gru_groups": gru_groups,
            "look_ahead": look_ahead,
            "router_channels": router_channels,
            "router_stride": router_stride,
            "router_kernel": None if router_stride is None else 2 * router_stride,
            "router_dilations": _read_dilations(router_dilations),
            "ufs": None if ufs is None else parse_numbers("--ufs", ufs),
        }
        path = train_from_files(
            config,
            manifest=manifest,
            speech=speech or [],
            noise=noise or [],
            rooms=rooms,
            corpus_weights=corpus_weight or [],
            cache=cache,
            init=init,
            mix=mix,
            sizes={name: size for name, size in sizes.items() if size is not None},
            valid_count=valid_count,
            teach_count=teach_count,
        )
        show(str(path))


def _read_dilations(text: str | None) -> tuple[float, ...] | None:
    """Read --router-dilations; none at all is a router that is recurrent."""
    if not text:
        return None if text is None else ()
    numbers = parse_numbers("--router-dilations", text)
    return tuple(int(n) if n.is_integer() else n for n in numbers)


def _range(text: str) -> tuple[float, float]:
    """Read --targets: LOW,HIGH, or one number for both."""
    numbers = parse_numbers("--targets", text)
    if len(numbers) > 2:
        raise UsageError(f"--targets takes one number or two, not {text}")
    return numbers[0], numbers[-1]

"""DNSMOS, differentiable: how far listeners would call an estimate worse than the clean speech.

The network is the one of P.835 in Microsoft's package speechmos (Reddy et al. 2022, arXiv 2110.01763), which
brings it as an ONNX file: convolutions over log power spectra, the largest answer of each channel anywhere, and
three dense layers. Needs the extra `train-mos`.

A network that judges can be fooled, so three things bound its pull: an estimate gains nothing by more than the
clean speech has, or so many points beyond, bins have a floor, and the gradient is at most so many times that
of the rest of the loss (`pull`). What it brings has to show in judges that are not in the loss.

Glossary: B batch, T samples, F frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimclean.errors import SlimcleanError, needs

SIZE, HOP = 320, 160
FLOOR = 3e-6
"""Added to the power of bins, 93 dB under a full-scale sine's: it bounds the gradient of the logarithm, and
moves scores of recordings by less than .01."""
LEVELS_DB = (-30.0, -20.0)
"""DNSMOS depends on the level, so levels are drawn from here, in dB re full scale."""
SHARES = (0.2, 0.2, 0.6)
"""Of signal, background and overall in the points."""
ENOUGH = 0.3
"""Points lost from which on the pull is whole; below, it shrinks in proportion."""


def require_network() -> tuple[Any, Any]:
    """Import speechmos' DNSMOS and onnx; raises `MissingDependencyError` with the line that installs them."""
    with needs("DNSMOS in training needs speechmos and onnx", "train-mos"):
        import onnx
        from speechmos import dnsmos
    return dnsmos, onnx


def read_network() -> Opinion:
    """Read the network of speechmos; raises also `SlimcleanError` where that has another network."""
    dnsmos, onnx = require_network()
    graph = onnx.load(Path(dnsmos.__file__).parent / "dnsmos_models" / "sig_bak_ovr.onnx").graph
    weights = {x.name: torch.tensor(onnx.numpy_helper.to_array(x)) for x in graph.initializer}
    return Opinion(graph.node, weights)


class Opinion(nn.Module):
    """Predict signal, background and overall, before the polynomial that speechmos applies: [B, T] -> [B, 3].

    T is at least 1,440 samples at 16 kHz. The weights are fixed.
    """

    fourier: Tensor

    def __init__(self, nodes: Any, weights: dict[str, Tensor]) -> None:
        super().__init__()
        fourier, layers, dense = [], list[nn.Module](), list[nn.Module]()
        sums = [node for node in nodes if node.op_type == "Add" and node.input[1] in weights]
        added = {node.input[0]: weights[node.input[1]] for node in sums}
        for node in nodes:
            given = [weights[name] for name in node.input if name in weights]
            if node.op_type == "Conv" and given[0].ndim == 3:  # [bins, SIZE, 1], the real part or the imaginary
                fourier.append(given[0][..., 0])
            elif node.op_type == "Conv":
                layers += [_convolution(*given), nn.ReLU(inplace=True)]
            elif node.op_type == "MaxPool":
                layers.append(nn.MaxPool2d(2))
            elif node.op_type == "MatMul":
                dense += [_linear(given[0], added[node.output[0]]), nn.ReLU()]
        if [x.shape[1] for x in fourier] != [SIZE] * 2 or len(layers) != 7 * 2 + 3 or len(dense) != 3 * 2:
            raise SlimcleanError("speechmos has another network for DNSMOS than the one known here")
        self.register_buffer("fourier", torch.cat(fourier).T.contiguous())
        self.layers, self.dense = nn.Sequential(*layers), nn.Sequential(*dense[:-1])
        self.requires_grad_(requires_grad=False)

    def forward(self, waveform: Tensor) -> Tensor:
        real, imag = (waveform.unfold(-1, SIZE, HOP) @ self.fourier).chunk(2, -1)  # [B, F, bins] each
        power = real.square() + imag.square() + FLOOR
        out: Tensor = self.dense(self.layers(power.log10()[:, None]).amax((2, 3)))
        return out

    def points_lost(self, clean: Tensor, enhanced: Tensor, levels_db: Tensor, beyond: float = 0.0) -> Tensor:
        """Count the points by which `enhanced` lies under `clean` and `beyond` points more, [B, T] x 2 -> [B].

        They are a mean of the three, weighted by `SHARES`. Both are judged with `clean` at an RMS of
        `levels_db` [B] re full scale; 0 where it is silent.
        """
        rms = clean.square().mean(-1, keepdim=True).sqrt()
        gain = 10 ** (levels_db[:, None] / 20) / rms.clamp_min(1e-3)
        with torch.no_grad():
            best = self(clean * gain) + beyond
        lost = (best - self(enhanced * gain)).clamp_min(0)
        points: Tensor = lost @ lost.new_tensor(SHARES) * (rms[:, 0] > 1e-3)
        return points


def pull(loss: Tensor, points: Tensor, enhanced: Tensor) -> Tensor:
    """Turn `points` lost [B] into a term whose gradient at `enhanced` [B, T] is as long as that of `loss` [B].

    It is shorter where fewer than `ENOUGH` are lost. The term's value is 0: only its gradient counts.
    Source: the balancer of Défossez et al. 2022 (arXiv 2210.13438, section 3.4).
    """
    lengths = torch.autograd.grad(loss.sum(), enhanced, retain_graph=True)[0].norm(dim=-1, keepdim=True)
    (gradient,) = torch.autograd.grad(points.sum(), enhanced)
    own = gradient.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
    share = points.detach()[:, None].clamp_max(ENOUGH) / ENOUGH
    term: Tensor = ((enhanced - enhanced.detach()) * (gradient / own * lengths * share)).sum(-1)
    return term


def _convolution(weight: Tensor, bias: Tensor) -> nn.Module:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    layer = nn.Linear(*weight.shape)
    layer.weight, layer.bias = nn.Parameter(weight.T.contiguous()), nn.Parameter(bias)
    return layer

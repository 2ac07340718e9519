"""Look-ahead for a recurrent layer that only goes forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowConvolution(nn.Module):
    """y[t] = sum over k of w[k] x[t + k], k from 0 to `look_ahead`, channel by channel, [B, F, C] -> [B, F, C].

    Beyond the last frame stands the last frame. It starts as the identity, and without look-ahead there is
    nothing to learn. Source: Amodei et al. 2015, "Deep Speech 2", arXiv 1512.02595, section 3.7.
    """

    def __init__(self, channels: int, look_ahead: int) -> None:
        super().__init__()
        self.look_ahead = look_ahead
        taps = torch.eye(look_ahead + 1, 1).repeat(1, channels)  # [K, C]
        self.weight = nn.Parameter(taps) if look_ahead else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return x
        with torch.autocast(x.device.type, enabled=False):
            padded = F.pad(x.float().mT, (0, self.look_ahead), "replicate")
            # The same as `row_sum`, but its gradients take half the time.
            return F.conv1d(padded, self.weight.T[:, None], groups=x.shape[2]).mT


def row_sum(x: Tensor, weight: Tensor) -> Tensor:
    """Weigh each frame and those after it, and add: x [B, F + K - 1, C], weight [K, C] -> [B, F, C].

    The same to the bit as `conv1d`, whose layouts of its own cost tens of megabytes in several threads.
    """
    frames = x.shape[1] - len(weight) + 1
    out = x[:, :frames] * weight[0]
    for k in range(1, len(weight)):
        out.addcmul_(x[:, k : k + frames], weight[k])
    return out

"""The two recurrent layers: a grouped GRU for the bottleneck, a diagonal one for a router without dilations.

Both follow PyTorch's `nn.GRU` (Cho et al. 2014, with the reset gate inside the candidate):

    r = sigmoid(x W_r + h U_r + b_r)            z = sigmoid(x W_z + h U_z + b_z)
    n = tanh(x W_n + b_n + r * (h U_n + c_n))   h = (1 - z) * n + z * h
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimclean.model.products import diagonal_scan, gru_scan


class GroupedGRU(nn.Module):
    """`groups` independent GRUs side by side, [B, F, C] -> [B, F, C], each on C / groups channels.

    One batched product per frame serves all groups. Weights are [G, C / G, 3 C / G], gates in
    the order r, z, n.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        c = channels // groups
        bound = c**-0.5
        self.input_weight = nn.Parameter(torch.empty(groups, c, 3 * c).uniform_(-bound, bound))
        self.hidden_weight = nn.Parameter(torch.empty(groups, c, 3 * c).uniform_(-bound, bound))
        self.input_bias = nn.Parameter(torch.empty(groups, 1, 3 * c).uniform_(-bound, bound))
        self.hidden_bias = nn.Parameter(torch.empty(groups, 1, 3 * c).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, channels = x.shape
        c = channels // self.groups
        x = x.reshape(batch, frames, self.groups, c).permute(2, 1, 0, 3)  # [G, F, B, c]
        gates = torch.baddbmm(self.input_bias, x.reshape(self.groups, frames * batch, c), self.input_weight)
        gates = gates.view(self.groups, frames, batch, 3 * c).transpose(0, 1)
        h = gru_scan(gates, self.hidden_weight, self.hidden_bias)  # [F, G, B, c]
        return h.permute(2, 0, 1, 3).reshape(batch, frames, channels)


class DiagonalGRU(nn.Module):
    """A GRU whose recurrent matrices are diagonal, [B, F, C_in] -> [B, F, C]: elementwise recurrence."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        bound = in_channels**-0.5
        self.input_weight = nn.Parameter(torch.empty(in_channels, 3 * channels).uniform_(-bound, bound))
        self.input_bias = nn.Parameter(torch.zeros(3 * channels))
        self.hidden_weight = nn.Parameter(torch.empty(3, channels).uniform_(-1, 1))
        self.hidden_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        gates = x.transpose(0, 1) @ self.input_weight + self.input_bias  # [F, B, 3 C]
        return diagonal_scan(gates.float(), self.hidden_weight, self.hidden_bias).transpose(0, 1)

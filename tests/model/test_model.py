"""The network against ordinary PyTorch layers with copied weights, and its causality."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import SMALL, voice
from torch import nn
from torch.nn import functional as F

from slimclean.errors import CheckpointError
from slimclean.model import ModelConfig, SlimmableDemucs, products
from slimclean.model.blocks import DecoderBlock, EncoderBlock
from slimclean.model.demucs import look_ahead_samples
from slimclean.model.gru import DiagonalGRU, GroupedGRU
from slimclean.model.products import diagonal_scan, glu_product, gru_scan, two_tap
from slimclean.model.router import Router, interpolate, together
from slimclean.model.row import RowConvolution
from slimclean.model.scripted import script
from slimclean.model.sinc import BLOCK, ZEROS, SincResampler
from slimclean.model.slimmable import FrameWidths, PointwiseConv, StridedConv, TransposedConv, width

STRIDE = 4
UFS = (0.1, 0.125, 0.25, 0.37, 0.5, 1.0)


def conv_weight(layer: StridedConv) -> torch.Tensor:
    """[2, S C, out] -> Conv1d's [out, C, 2 S]."""
    halves, rows, out = layer.weight.shape
    return layer.weight.reshape(halves * STRIDE, rows // STRIDE, out).permute(2, 1, 0)


def transposed_weight(layer: TransposedConv) -> torch.Tensor:
    """[2, in, S C] -> ConvTranspose1d's [in, C, 2 S]."""
    halves, inputs, columns = layer.weight.shape
    taps = layer.weight.reshape(halves, inputs, STRIDE, columns // STRIDE)
    return taps.permute(1, 3, 0, 2).flatten(2)


def pointwise_weight(layer: PointwiseConv) -> torch.Tensor:
    """[2, in, out] -> Conv1d's [2 out, in, 1]."""
    return torch.cat(list(layer.weight), dim=1).T[..., None]


def randomise_biases(module: nn.Module) -> None:
    for name, p in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p)


@pytest.mark.parametrize("uf", UFS)
def test_slimmed_encoder_block_is_an_ordinary_one_with_copied_weights(uf):
    block = EncoderBlock(6, 12, STRIDE)
    randomise_biases(block)
    x = torch.randn(2, 32, 6)
    w = width(uf, 12)
    h = F.relu(
        F.conv1d(F.pad(x.mT, (0, STRIDE)), conv_weight(block.strided)[:w], block.strided.bias[:w], STRIDE)
    )
    wanted = F.glu(F.conv1d(h, pointwise_weight(block.pointwise)[:, :w], block.pointwise.bias.flatten()), dim=1)
    torch.testing.assert_close(block(x, uf).mT, wanted)


@pytest.mark.parametrize("uf", UFS)
@pytest.mark.parametrize("last", [False, True])
def test_slimmed_decoder_block_is_an_ordinary_one_with_copied_weights(uf, last):
    block = DecoderBlock(12, 6, STRIDE, last=last)
    randomise_biases(block)
    x, skip = torch.randn(2, 2, 8, 12)
    w = width(uf, 12)
    weight, bias = pointwise_weight(block.pointwise), block.pointwise.bias.flatten()
    kept = torch.cat([torch.arange(w), 12 + torch.arange(w)])  # the first w of each GLU half
    h = F.glu(F.conv1d((x + skip).mT, weight[kept], bias[kept]), dim=1)
    wanted = F.conv_transpose1d(h, transposed_weight(block.transposed)[:w], block.transposed.bias, STRIDE)
    wanted = wanted[..., :-STRIDE]
    torch.testing.assert_close(block(x, skip, uf).mT, wanted if last else F.relu(wanted))


@pytest.mark.parametrize("gpu", [False, True])
def test_products_have_the_right_gradients(gpu, monkeypatch):
    """Those that a GPU takes piece by piece are other lines."""
    if gpu:
        monkeypatch.setattr(products, "_on_gpu", lambda x: True)
        monkeypatch.setattr(products, "PIECE", 2)
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 5, 3), (2, 3, 4), 4)
    )
    for ahead in (False, True):
        for relu in (False, True):
            torch.autograd.gradcheck(
                lambda *a, k=(ahead, relu): two_tap(*a, ahead=k[0], relu=k[1]), (x, weight, bias)
            )
    wide = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    wide_bias = torch.randn(8, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(glu_product, (x, wide, wide_bias))
    gates = torch.randn(4, 2, 3, 6, dtype=torch.float64, requires_grad=True)
    recurrent = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)
    hidden_bias = torch.randn(2, 1, 6, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(gru_scan, (gates, recurrent, hidden_bias))
    diagonal = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    diagonal_bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(diagonal_scan, (gates.detach()[:, 0].requires_grad_(), diagonal, diagonal_bias))


@pytest.mark.parametrize("last", [False, True])
def test_gathered_frames_equal_masked_ones_in_values_and_gradients(last):
    torch.manual_seed(1)
    ufs = (0.125, 0.3, 0.5, 1.0)  # 0.5 stays unused
    chosen = torch.tensor([[0, 3, 1, 1, 0, 3], [3, 0, 0, 1, 3, 1]])
    shares = F.one_hot(chosen, len(ufs)).double()
    encoder, decoder = EncoderBlock(3, 6, STRIDE).double(), DecoderBlock(6, 3, STRIDE, last=last).double()
    for block in (encoder, decoder):
        randomise_biases(block)
    x = torch.randn(2, 6 * 2 * STRIDE, 3, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, 6 * 2, 6, dtype=torch.float64)
    inputs = [x, *encoder.parameters(), *decoder.parameters()]
    found = []
    for hard in (True, False):  # what wants a gradient is masked
        widths = FrameWidths(shares.clone().requires_grad_(not hard), ufs)
        assert widths.is_hard == hard
        y = decoder(encoder(x, widths), skip, widths)
        found.append([y, *torch.autograd.grad((y * torch.arange(y.numel()).view_as(y).cos()).sum(), inputs)])
    for gathered, masked in zip(*found, strict=True):
        torch.testing.assert_close(gathered, masked)
    widths = FrameWidths(shares, ufs)
    torch.autograd.gradcheck(lambda *a: decoder(encoder(a[0], widths), skip, widths), inputs, fast_mode=True)


def test_loops_are_the_same_without_the_lock(monkeypatch):
    def double(x: torch.Tensor) -> torch.Tensor:
        return x + x

    assert script(double)(torch.ones(2)).tolist() == [2, 2]
    monkeypatch.delattr("torch.jit.script")
    assert script(double) is double


def test_grouped_gru_is_several_grus_side_by_side():
    ours = GroupedGRU(12, 3)
    x = torch.randn(2, 7, 12)
    wanted = []
    for group, part in enumerate(x.chunk(3, dim=-1)):
        plain = nn.GRU(4, 4, batch_first=True)
        with torch.no_grad():
            plain.weight_ih_l0.copy_(ours.input_weight[group].T)
            plain.weight_hh_l0.copy_(ours.hidden_weight[group].T)
            plain.bias_ih_l0.copy_(ours.input_bias[group, 0])
            plain.bias_hh_l0.copy_(ours.hidden_bias[group, 0])
        wanted.append(plain(part)[0])
    torch.testing.assert_close(ours(x), torch.cat(wanted, dim=-1))


def test_diagonal_gru_is_a_gru_with_diagonal_matrices():
    ours = DiagonalGRU(5, 3)
    plain = nn.GRU(5, 3, batch_first=True)
    with torch.no_grad():
        nn.init.normal_(ours.hidden_bias)
        plain.weight_ih_l0.copy_(ours.input_weight.T)
        plain.bias_ih_l0.copy_(ours.input_bias)
        plain.weight_hh_l0.copy_(torch.cat([torch.diag(u) for u in ours.hidden_weight]))
        plain.bias_hh_l0.zero_()
        plain.bias_hh_l0[6:] = ours.hidden_bias
    x = torch.randn(2, 9, 5)
    torch.testing.assert_close(ours(x), plain(x)[0])
    assert DiagonalGRU(100, 30).input_weight.std().item() == pytest.approx(
        0.1 / 3**0.5, rel=0.1
    )  # as `nn.Linear`


@pytest.mark.parametrize("uf", UFS)
def test_a_constant_frame_map_equals_the_static_uf(small, uf):
    noisy = torch.randn(2, 2048)
    with torch.no_grad():
        static, mapped = small(noisy, uf), small(noisy, torch.full((2, 8), uf))
    torch.testing.assert_close(mapped.waveform, static.waveform, rtol=1e-5, atol=1e-6)
    assert mapped.uf.shape == static.uf.shape == (2, 8)


def test_frames_are_slimmed_one_by_one(small):
    """Within a block, a frame computes what a static block of its UF computes."""
    block = small.encoder[1]
    x = torch.randn(1, 2 * 64 * STRIDE, SMALL.hidden)
    ufs = torch.tensor([[0.25, 1.0]])
    mixed = block(x, FrameWidths.of(ufs))
    torch.testing.assert_close(mixed[:, :64], block(x, 0.25)[:, :64])
    torch.testing.assert_close(mixed[:, 64:], block(x, 1.0)[:, 64:])


def test_width_is_the_published_ceiling():
    assert [width(v, 32) for v in (0.001, 0.125, 0.13, 0.5, 1.0)] == [1, 4, 5, 16, 32]
    for channels in (10, 32, 100, 512):
        for percent in range(1, 101):
            assert width(percent / 100, channels) == -(-percent * channels // 100)


def test_interpolation_keeps_its_samples_and_is_exact_on_tones():
    resampler = SincResampler(4)
    n = torch.arange(16 * BLOCK)
    tone = torch.sin(2 * torch.pi * 0.11 * n)[None].float()
    up = resampler.up(tone)
    torch.testing.assert_close(up[:, ::4], tone, atol=1e-6, rtol=0)
    middle = slice(4 * 2 * ZEROS, -4 * 2 * ZEROS)
    exact = torch.sin(2 * torch.pi * 0.11 * torch.arange(4 * len(n)) / 4)[None].float()
    assert (up - exact)[:, middle].abs().max() < 2e-3
    assert (resampler.down(up) - tone)[:, 2 * ZEROS : -2 * ZEROS].abs().max() < 2e-3


def test_coming_down_removes_what_does_not_fit():
    resampler = SincResampler(4)
    image = torch.sin(2 * torch.pi * 0.2 * torch.arange(64 * BLOCK))[None]  # 12.8 kHz at 64 kHz
    assert resampler.down(image)[:, 2 * ZEROS : -2 * ZEROS].abs().max() < 2e-3


def test_the_backbone_is_causal_up_to_its_stated_look_ahead(small):
    """The first samples of a frame depend on nothing later than the look-ahead, and on something near it."""
    reach = look_ahead_samples(SMALL)
    assert reach == 709 + SMALL.look_ahead * 256
    assert look_ahead_samples(ModelConfig()) == 709 + 64 * 256
    assert look_ahead_samples(ModelConfig(look_ahead=0, router_dilations=())) == 709
    assert look_ahead_samples(ModelConfig(look_ahead=0)) == 63 * 256 + 32  # the router's
    torch.nn.init.normal_(small.row.weight)
    noisy = torch.randn(1, 96 * SMALL.frame_hop, requires_grad=True)
    start = 5 * SMALL.frame_hop
    small.backbone(noisy, 1.0)[0, start].backward()
    gradient = noisy.grad[0].abs()
    # The interpolator coming down already looks `ZEROS` samples into the next frame.
    later = start + ZEROS + SMALL.frame_hop - start % SMALL.frame_hop
    limit = (start + ZEROS) // SMALL.frame_hop * SMALL.frame_hop + reach
    assert gradient[limit:].max() == 0
    assert gradient[later:limit].max() > 0
    assert gradient[limit - SMALL.frame_hop : limit].max() > 0


def test_a_row_convolution_is_a_depthwise_one_and_starts_as_the_identity():
    row = RowConvolution(6, 3)
    x = torch.randn(2, 9, 6)
    assert row(x).equal(x)
    torch.nn.init.normal_(row.weight)
    ahead = torch.cat([x, x[:, -1:].repeat(1, 3, 1)], 1)
    wanted = F.conv1d(ahead.mT, row.weight.T[:, None], groups=6).mT
    torch.testing.assert_close(row(x), wanted)
    assert row(x[:, :1]).shape == (2, 1, 6)


def test_without_look_ahead_there_is_nothing_to_learn(small):
    """And a header that does not know of it is that of such a network."""
    config = dataclasses.replace(SMALL, look_ahead=0)
    before = SlimmableDemucs(config)
    assert not list(before.row.parameters())
    before.load_state_dict(small.state_dict(), strict=False)
    noisy = torch.randn(1, 2048)
    with torch.no_grad():
        assert before(noisy, 0.5).waveform.equal(small(noisy, 0.5).waveform)  # as the row starts
    header = {name: value for name, value in SMALL.to_dict().items() if name != "look_ahead"}
    assert ModelConfig.from_dict(header) == config
    del header["router_dilations"]
    assert ModelConfig.from_dict(header) == dataclasses.replace(config, router_dilations=())


@pytest.mark.parametrize("dilations", [(), (1,), (1, 2, 4)])
def test_the_router_hears_as_far_as_is_stated(dilations):
    torch.manual_seed(1)
    config = dataclasses.replace(SMALL, router_dilations=dilations)
    router, frame = Router(config), 20
    noisy = torch.randn(1, 40 * config.frame_hop, requires_grad=True)
    router(noisy, torch.tensor([0.3]))[0, frame, : len(config.ufs)].sum().backward()
    heard = noisy.grad[0].abs().view(-1, config.frame_hop).sum(1).nonzero()
    last = frame + config.router_reach
    assert heard.max() in (last, last + 1)  # its windows overlap with the next frame
    assert noisy.grad[0, (last + 1) * config.frame_hop + 32 :].abs().max() == 0
    assert heard.min() == frame - config.router_reach if dilations else heard.min() < 2  # a GRU's memory fades


def test_a_pause_runs_at_the_smallest_uf_whatever_the_target():
    torch.manual_seed(0)
    router = Router(SMALL)
    base = torch.randn(2, 30, len(SMALL.ufs) + 1)
    choice = router.likeliest(router.priced(base, torch.tensor([0.1, 1.0])))
    pause = base[..., -1] > 0
    assert set(choice[pause].tolist()) == {SMALL.ufs[0]}
    assert choice[1][~pause[1]].min() > SMALL.ufs[0]
    plain = torch.cat([base[..., :-1], torch.full_like(base[..., -1:], -1)], -1)
    others = router.likeliest(router.priced(plain, torch.tensor([0.1, 1.0])))
    assert choice[~pause].equal(others[~pause])


def test_a_new_router_listens_evenly_in_mel():
    """White noise is as loud in all of its filters; a tone is loudest in those that are nearest in pitch."""
    router = Router(dataclasses.replace(SMALL, router_channels=15))
    torch.manual_seed(0)
    responses = router.responses(torch.randn(1, 2048 * SMALL.frame_hop)).mean((0, 1))
    assert responses.max() < 1.1 * responses.min()
    hz = 700 * (10 ** (torch.linspace(1.0, 9.0, 40) / 9 * math.log10(1 + 7600 / 700)) - 1)
    tones = torch.sin(2 * torch.pi * hz[:, None] * torch.arange(4096) / 16_000)
    cosines = router.responses(tones).mean(1)[:, :8]
    loudest = cosines.argmax(1)
    assert (loudest.diff() >= 0).all()
    assert loudest[-1] == 7
    assert loudest.bincount(minlength=8)[2:7].min() >= 3
    spectra = torch.fft.rfft(Router(SMALL).conv.weight[:, 0], 16_000).abs().detach()  # bins of 1 Hz
    assert spectra[3].argmax() == pytest.approx(7_600, abs=60)  # of four cosines the last


def test_a_new_router_hears_no_pauses_and_one_forgets_them():
    torch.manual_seed(0)
    router, noisy = Router(SMALL), torch.randn(2, 8192)
    assert (router.base_logits(noisy)[..., -1] < 0).all()
    with torch.no_grad():
        torch.nn.init.normal_(router.head.weight)
        router.target_shift[:, -1] = 5.0
        assert router(noisy, torch.tensor([0.25, 0.5])).isinf().any()
        router.forget_pauses()
        assert not router(noisy, torch.tensor([0.25, 0.5])).isinf().any()


def test_the_odds_of_a_pause_are_in_no_scale():
    torch.manual_seed(0)
    router = Router(SMALL)
    base = torch.randn(2, 30, len(SMALL.ufs) + 1)
    with torch.no_grad():
        router.target_scale.fill_(-3.0)
        router.target_shift[:, -1] = -0.5
    pause = router.priced(base, torch.tensor([0.1, 1.0]))[..., -1].isinf()
    assert pause.equal(base[..., -1] > 0.5)


def test_the_router_samples_one_hot_with_a_gradient():
    router = Router(SMALL)
    shape = (2, 6, len(SMALL.ufs))
    logits = torch.randn(shape, requires_grad=True)
    widths = router.sample(logits, torch.rand(shape))
    assert set(widths.shares.detach().round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    assert widths.shares.sum(-1).allclose(torch.ones(2, 6))
    widths.mask(12).square().sum().backward()
    assert logits.grad.abs().max() > 0


def test_target_interpolation_is_linear_and_clamped():
    weights = interpolate(torch.tensor([0.05, 0.1, 0.175, 1.0]), (0.1, 0.25, 1.0))
    wanted = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    torch.testing.assert_close(weights, wanted)


def test_the_target_changes_the_choice(small):
    with torch.no_grad():
        small.router.target_shift[0] = torch.tensor([9.0, 0, 0, 0, 0, 0])
        small.router.target_shift[-1] = torch.tensor([0, 0, 0, 0, 9.0, 0])
    noisy = torch.randn(1, 2560)
    assert small.route(noisy, 0.1).mean() < 0.2 < 0.9 < small.route(noisy, 1.0).mean()


def test_results_do_not_depend_on_call_order(small):
    noisy = torch.randn(1, 1024)
    with torch.no_grad():
        first = small(noisy, 0.25).waveform
        small(noisy, 1.0)
        assert small(noisy, 0.25).waveform.equal(first)


def test_the_default_has_the_published_size():
    network = SlimmableDemucs()
    backbone = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(("router", "row")))
    assert 4.57e6 < backbone < 4.60e6


def test_configuration_survives_json_and_refuses_the_unknown():
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(CheckpointError, match="colour"):
        ModelConfig.from_dict({**SMALL.to_dict(), "colour": 1})


def test_choices_are_drawn_as_often_as_the_softmax_says():
    """The largest of logits and Gumbel noise is a draw from their softmax."""
    router, generator = Router(SMALL), torch.Generator().manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5, -2.0]).expand(1, 20_000, -1)
    drawn = router.sample(logits, torch.rand(logits.shape, generator=generator)).shares.mean((0, 1))
    torch.testing.assert_close(drawn, torch.softmax(logits[0, 0], 0), atol=0.015, rtol=0)


def test_a_new_router_without_features_draws_the_target_on_average():
    router = Router(ModelConfig())
    shares = torch.softmax(router.target_shift[:, : len(router.config.ufs)], -1)
    wanted = torch.tensor(router.config.target_knots)
    torch.testing.assert_close(shares @ torch.tensor(router.config.ufs), wanted, atol=0.01, rtol=0)


def test_channels_count_by_their_power():
    responses = torch.rand(2, 3, 4, 5)
    power = torch.tensor([3.0, 1.0, 0.0])[:, None].expand(2, -1, 4)
    wanted = 0.75 * responses[:, 0] + 0.25 * responses[:, 1]
    torch.testing.assert_close(together(responses, power), wanted)
    torch.testing.assert_close(together(responses, 0 * power), responses.mean(1))


@pytest.mark.parametrize("uf", [0.0625, 0.25, 1.0])
def test_a_new_network_nearly_gives_back_what_it_gets(uf):
    torch.manual_seed(0)
    noisy = torch.from_numpy(voice(0.512))[None]
    noisy /= noisy.std()
    with torch.no_grad():
        out = SlimmableDemucs(dataclasses.replace(SMALL, hidden=32)).eval()(noisy, uf).waveform
    assert (out - noisy).square().mean() < 0.1
    assert float(out.flatten() @ noisy.flatten() / noisy.square().sum()) == pytest.approx(1, abs=0.1)


def test_new_weights_keep_the_level_of_a_signal():
    torch.manual_seed(0)
    x = torch.randn(4, 64, 96)
    strided, transposed = StridedConv(96, 128, STRIDE), TransposedConv(96, 48, STRIDE)
    with torch.no_grad():
        for y in (strided(x, 128)[:, :-1], transposed(x, relu=True)[:, STRIDE:]):
            assert float(y.square().mean()) == pytest.approx(1, rel=0.05)

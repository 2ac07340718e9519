"""The whole enhance path around the network: identity, rates, channels, level, chunks."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
from conftest import SMALL, identity_enhancer, voice
from hypothesis import given, settings
from hypothesis import strategies as st
from test_examples import PAIR

from slimclean import audio
from slimclean.chunk_enhancer import _in_phase
from slimclean.chunking import CONTEXT_S, HOP_S, completed, context_s, hop_s
from slimclean.dsp.highband import highband_gain
from slimclean.dsp.overlap_add import Chunk
from slimclean.dsp.resample import resample
from slimclean.enhancer import Enhancer
from slimclean.errors import AudioError, SlimcleanError, UsageError
from slimclean.model import SlimmableDemucs, checkpoint
from slimclean.scoring.metrics import si_sdr

STEP = 2**-15
CHUNK = round(HOP_S * 16_000)


@pytest.mark.parametrize("length", [0, 1, 255, 256, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 4567])
@pytest.mark.parametrize("uf", ["auto", 0.25])
def test_an_identity_network_returns_the_input(length, uf):
    x = np.random.default_rng(length).uniform(-1, 1, (1, length)).astype(np.float32)
    out, ufs = identity_enhancer(uf)(x, 16_000)
    assert out.shape == x.shape
    assert len(ufs) == -(-length // 256)
    if length:
        assert np.abs(out - x).max() < STEP


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(0, 30_000),
    rate=st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000]),
    channels=st.integers(1, 3),
)
def test_other_rates_and_channels_come_back_too(length, rate, channels):
    x = np.random.default_rng(length).uniform(-1, 1, (channels, length)).astype(np.float32)
    out, ufs = identity_enhancer()(x, rate)
    assert out.shape == x.shape
    assert len(ufs) == -(-round(length * 16_000 / rate) // 256)
    if length:
        assert np.abs(out - x).max() < STEP


def test_chunks_agree_with_one_pass(small, monkeypatch):
    """A file of several chunks is what one long chunk gives, once the recurrence is warm."""
    x = (voice(3 * HOP_S) + np.random.default_rng(0).normal(0, 0.01, 48 * 16_000)).astype(np.float32)
    chunked = Enhancer(0.5, network=small)(x, 16_000)
    monkeypatch.setattr("slimclean.chunking.HOP_S", 100.0)
    whole = Enhancer(0.5, network=small)(x, 16_000)
    assert len(chunked.uf) == len(whole.uf)
    difference = np.abs(chunked.waveform - whole.waveform).max()
    assert difference < 1e-3 * np.abs(whole.waveform).max()


def test_many_channels_and_high_rates_go_through_in_shorter_chunks(small, monkeypatch):
    """Eight channels at 655 kHz took 5 GB."""
    assert hop_s(1, 768_000) == hop_s(8, 96_000) == hop_s(16, 48_000) == HOP_S
    assert [hop_s(24, 48_000), hop_s(64, 48_000), hop_s(8, 655_350), hop_s(64, 768_000)] == [14, 4, 2, 2]
    x = np.stack([voice(19.0, seed=c) for c in range(2)])
    usual = Enhancer(0.5, network=small)(x, 16_000)
    monkeypatch.setattr("slimclean.chunking.MOST_SAMPLES", 2 * 16_000 * 5)
    short = Enhancer(0.5, network=small)(x, 16_000)
    assert len(short.uf) == len(usual.uf)
    assert si_sdr(usual.waveform[0], short.waveform[0]) > 40
    back = identity_enhancer(0.5)(x, 16_000).waveform
    np.testing.assert_allclose(back, x, atol=1e-5)


@pytest.mark.parametrize("uf", ["auto", 0.37])
def test_threads_change_no_bit(small, monkeypatch, uf):
    monkeypatch.setattr("slimclean.chunking.HOP_S", 4.0)
    x = np.stack([voice(19), voice(19, seed=1)]) + np.random.default_rng(0).normal(0, 0.05, (2, 19 * 16_000))
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(Enhancer, "threads", threads)
        results.append(Enhancer(uf, network=small)(x.astype(np.float32), 16_000))
    assert results[0].waveform.tobytes() == results[1].waveform.tobytes()
    assert results[0].uf.tobytes() == results[1].uf.tobytes()


LONG_FRAMES = {"hidden": 8, "gru_groups": 2, "stride": 20, "depth": 3, "upsampling": 5}


@pytest.mark.parametrize("sizes", [{}, {"look_ahead": 0}, LONG_FRAMES], ids=["usual", "no row", "long frames"])
def test_the_router_agrees_across_chunks(sizes, monkeypatch):
    torch.manual_seed(0)
    network = SlimmableDemucs(dataclasses.replace(SMALL, **sizes)).eval()
    x = (voice(40) + np.random.default_rng(0).normal(0, 0.05, 40 * 16_000)).astype(np.float32)
    x *= np.repeat(np.random.default_rng(1).random(80) + 0.1, 8_000).astype(np.float32)
    with torch.no_grad():
        torch.nn.init.normal_(network.router.head.weight)
        network.router.head.bias -= network.router.base_logits(torch.from_numpy(x)[None] / x.std()).mean((0, 1))
    chunked = Enhancer(network=network)(x, 16_000).uf
    monkeypatch.setattr("slimclean.chunking.HOP_S", 100.0)
    whole = Enhancer(network=network)(x, 16_000).uf
    assert len(chunked) == len(whole)
    assert len(np.unique(whole)) > 2
    assert (chunked != whole).mean() < 0.01


def test_scaling_the_input_scales_the_output(small):
    x = voice(2.0)
    quiet, loud = (Enhancer(0.25, network=small)(x * gain, 16_000) for gain in (0.001, 1.0))
    np.testing.assert_allclose(quiet.waveform * 1000, loud.waveform, atol=1e-4)


def test_silence_stays_silence(small):
    out, ufs = Enhancer(network=small)(np.zeros(20_000, np.float32), 16_000)
    assert not out.any()
    assert set(ufs) == {min(SMALL.ufs)}


def test_channels_share_the_uf_and_keep_their_place():
    x = np.stack([voice(1.0), voice(1.0, seed=1), np.zeros(16_000, np.float32)])
    out, ufs = identity_enhancer()(x, 16_000)
    assert ufs.ndim == 1
    np.testing.assert_allclose(out, x, atol=STEP)


@pytest.mark.parametrize(("highband", "kept"), [("keep", 1.0), ("drop", 0.0), ("gate", 1.0)])
def test_the_high_band_follows_its_policy(highband, kept):
    """A 12 kHz tone beside a voice the network only turns over: nothing to gate, so gate keeps it."""
    rate = 48_000
    tone = 0.1 * np.sin(2 * np.pi * 12_000 * np.arange(rate) / rate).astype(np.float32)
    enhancer = identity_enhancer(1.0, effect=torch.neg, highband=highband)
    out = enhancer(voice(1.0, rate) + tone, rate)
    spectrum = np.abs(np.fft.rfft(out.waveform)) / (rate / 2)
    assert spectrum[12_000] == pytest.approx(0.1 * kept, abs=1e-3)


@pytest.mark.parametrize(("highband", "kept"), [("keep", 1.0), ("drop", 0.0), ("gate", 0.1)])
def test_what_lies_above_the_band_falls_with_it_or_as_asked(highband, kept):
    x = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    out = identity_enhancer(1.0, effect=lambda noisy: 0.1 * noisy, highband=highband)(x, 48_000).waveform
    before, after = (np.abs(np.fft.rfft(signal)[10_000:20_000]) for signal in (x, out))
    assert np.sqrt(np.square(after).sum() / np.square(before).sum()) == pytest.approx(kept, abs=0.01)
    assert highband_gain(x[None], 2 * x[None], 256, 48_000, 16_000).max() == 1


def test_the_gate_follows_the_top_of_the_band():
    rng = np.random.default_rng(0)
    noisy = rng.normal(size=(1, 32_000))
    enhanced = noisy.copy()
    enhanced[:, 16_000:] *= 0.1
    gain = highband_gain(noisy, enhanced, 256, 96_000, 48_000)[0]
    assert gain[:45_000].min() == gain[:45_000].max() == 1.0
    np.testing.assert_allclose(gain[51_000:], 0.1, rtol=0.01)
    assert np.abs(np.diff(gain)).max() < 0.01


def test_the_gate_hears_each_channel_by_itself():
    """A loud voice on one microphone leaves the hiss of the other to the network."""
    noisy = np.random.default_rng(0).normal(size=(2, 32_000)) * [[10.0], [0.1]]
    loud, soft = highband_gain(noisy, noisy * [[1.0], [0.01]], 256, 96_000, 48_000)
    assert loud.min() == 1.0
    np.testing.assert_allclose(soft, 0.01, rtol=0.01)


@pytest.mark.parametrize("rate", [4_000, 6_000, 8_000, 11_025, 15_000])
def test_the_gate_hears_what_a_lower_rate_holds(rate):
    """Above it the network gives a trace of its own, of which nothing came in."""
    rng = np.random.default_rng(0)
    noisy = resample(rng.normal(size=(1, rate)).astype(np.float32), rate, 16_000)
    enhanced = 0.01 * noisy + 1e-5 * rng.normal(size=noisy.shape)
    gain = highband_gain(noisy, enhanced, 256, rate, rate)[0]
    np.testing.assert_allclose(gain, 0.01, rtol=0.1)


def test_a_worker_that_lives_on_loads_new_weights_under_an_old_name(weights):
    """As where a script trains, enhances and trains again: what arrives there is the pickled enhancer."""
    take = voice(0.5)
    for seed in range(2):
        torch.manual_seed(seed)
        checkpoint.save(weights, SMALL, SlimmableDemucs(SMALL).state_dict(), {})
        here = Enhancer(0.5, model=weights)
        there = pickle.loads(pickle.dumps(here))
        np.testing.assert_array_equal(there(take, 16_000).waveform, here(take, 16_000).waveform)
        assert pickle.loads(pickle.dumps(here)) is there


def test_auto_reports_the_candidates_only(small):
    ufs = Enhancer("auto", 0.5, network=small)(voice(1.0), 16_000).uf
    assert set(ufs) <= set(SMALL.ufs)
    assert set(Enhancer(0.37, network=small)(voice(1.0), 16_000).uf) == {np.float32(0.37)}


def test_the_result_does_not_depend_on_earlier_calls(small):
    enhancer = Enhancer(network=small)
    first = enhancer(voice(1.0), 16_000).waveform
    enhancer(voice(2.0, seed=3), 44_100)
    np.testing.assert_array_equal(enhancer(voice(1.0), 16_000).waveform, first)


@pytest.mark.parametrize(
    "arguments",
    [{"uf": 0.0}, {"uf": 1.1}, {"uf": -1}, {"target_uf": 0.05}, {"highband": "x"}, {"device": "tpu"}],
)
def test_values_out_of_range_are_usage_errors(small, arguments):
    with pytest.raises(UsageError):
        Enhancer(**arguments, network=small)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_one_line(small):
    with pytest.raises(UsageError, match="no such device"):
        Enhancer(device="cuda", network=small)


@pytest.mark.parametrize("x", [np.zeros((2, 3, 4)), np.zeros((16_000, 2)), np.array([0.0, np.nan])])
def test_what_is_no_waveform_is_refused(small, x):
    with pytest.raises(AudioError):
        Enhancer(network=small)(x, 16_000)


@pytest.mark.parametrize("rate", [0, -1, 44_100.5, 10**7, math.nan, math.inf, None, "16000"])
def test_what_is_no_rate_is_refused(small, rate):
    with pytest.raises(AudioError, match="sample rate"):
        Enhancer(network=small)(voice(0.1), rate)
    assert len(Enhancer(network=small)(voice(0.1), np.float64(16_000)).waveform) == 1600


def test_the_callers_torch_stays_as_it_is_and_does_not_matter(weights):
    x = voice(0.5)
    expected = Enhancer("auto", model=weights)(x, 16_000)
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    Enhancer(model=weights)
    assert torch.rand(1) == drawn
    try:
        torch.set_default_dtype(torch.float64)
        found = [Enhancer("auto", model=weights)(x, 16_000)]
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("meta")
        found.append(Enhancer("auto", model=weights, device=torch.device("cpu"))(x, 16_000))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for one in found:
        assert one.uf.dtype == np.float32
        np.testing.assert_array_equal(one.uf, expected.uf)
        np.testing.assert_array_equal(one.waveform, expected.waveform)


@pytest.mark.parametrize("method", ["stream", "route_stream"])
def test_what_is_no_stream_is_refused(small, method):
    run = getattr(Enhancer(network=small), method)
    mono = voice(0.2)[None]
    for blocks in (
        [mono[0]],
        [mono, np.repeat(mono, 2, 0)],
        [(1000 * mono).astype(np.int16)],
        [mono > 0],
        [1j * mono],
    ):
        with pytest.raises(AudioError):
            list(run(blocks, 16_000))
    for rate in (0, "16000", 999, None):
        with pytest.raises(AudioError, match="sample rate"):
            list(run([mono], rate))
    assert len(list(run([], 16_000))) == 1
    for one, other in zip(run([mono.astype(np.float64)], 16_000.0), run([mono], 16_000), strict=True):
        np.testing.assert_array_equal(one[-1], other[-1])


def test_absurdly_loud_input_is_refused(small):
    with pytest.raises(AudioError, match="absurdly large"):
        Enhancer(network=small)(voice(0.1) * 1e21, 16_000)


@pytest.mark.parametrize("sample", [1e7, 1e20, 1e30, -1e30, np.inf, np.nan])
def test_a_stream_refuses_what_would_overflow(small, sample):
    x = voice(0.2)[None]
    x[0, 1000] = sample
    with pytest.raises(AudioError, match="absurdly large"):
        list(Enhancer(0.25, network=small).stream([x], 16_000))


def test_loud_floats_within_reason_stay_finite(small):
    """As of a file whose samples are whole numbers up to 32768, stored as floats."""
    out, _ = Enhancer(0.25, network=small)(32_768 * voice(0.5), 16_000)
    assert np.isfinite(out).all()
    assert np.abs(out).max() > 1000


def test_a_network_that_gives_no_numbers_is_one_line():
    with pytest.raises(SlimcleanError, match="NaN or infinite"):
        identity_enhancer(1.0, effect=lambda noisy: noisy / 0)(voice(0.2), 16_000)


def test_another_uf_shares_the_network(small):
    one = Enhancer(0.25, network=small, dry=0.5)
    other = one.at("auto", 0.4)
    assert (other.uf, other.target_uf, other.dry) == ("auto", 0.4, 0.5)
    assert other.network is one.network
    x = voice(0.5)
    wanted = Enhancer(0.25, network=small, dry=0.5)(x, 16_000).waveform
    np.testing.assert_array_equal(other.at(0.25, 0.4)(x, 16_000).waveform, wanted)
    stub = identity_enhancer(0.5)
    assert stub.at(1.0, 0.25).engine is stub.engine


@pytest.mark.parametrize("arguments", [{"uf": "0.25"}, {"uf": None}, {"target_uf": "x"}, {"dry": "0"}])
def test_what_is_no_number_is_a_usage_error_that_names_the_parameter(small, arguments):
    (name,) = arguments
    with pytest.raises(UsageError, match=f"`{name}` takes"):
        Enhancer(**arguments, network=small)


def test_a_live_stream_is_what_a_file_is_up_to_its_seams(small):
    x = (voice(20) + np.random.default_rng(0).normal(0, 0.01, 20 * 16_000)).astype(np.float32)
    enhancer = Enhancer(0.5, network=small)
    wanted = enhancer(x, 16_000)
    out, ufs = zip(*enhancer.stream([x[None]], 16_000, live=True), strict=True)
    assert np.concatenate(ufs).shape == wanted.uf.shape
    difference = np.abs(np.concatenate(out, axis=1)[0] - wanted.waveform).max()
    assert difference < 1e-3 * np.abs(wanted.waveform).max()


def test_chunks_begin_on_a_frame_at_every_rate():
    for rate in (8_000, 11_025, 44_100, 96_000):
        for seconds in (CONTEXT_S, HOP_S):
            assert (seconds * rate).is_integer()
            assert (seconds * 16_000 / SMALL.frame_hop).is_integer()


def test_a_chunk_completes_the_frames_of_its_hop_at_every_rate():
    for rate in range(1_000, 192_001, 331):
        chunk = Chunk(0, 2 * rate, 18 * rate + 100, 19 * rate, 100, 100)
        assert completed(chunk, rate, SMALL) == slice(125, 1_125)


@pytest.mark.parametrize("sizes", [{}, LONG_FRAMES, LONG_FRAMES | {"router_dilations": ()}])
def test_a_chunk_hears_as_much_as_the_router(sizes):
    config = dataclasses.replace(SMALL, **sizes)
    assert context_s(config) * config.frame_rate_hz >= config.router_reach + 1
    assert context_s(config) % CONTEXT_S == 0
    assert context_s(config) - CONTEXT_S < (config.router_reach + 1) / config.frame_rate_hz


@pytest.fixture
def choosy(small):
    """The small network with a router that chooses among UFs, and sound in which it does."""
    x = (voice(12) + np.random.default_rng(0).normal(0, 0.05, 12 * 16_000)).astype(np.float32)
    x *= np.repeat(np.random.default_rng(1).random(24) + 0.1, 8_000).astype(np.float32)
    with torch.no_grad():
        torch.nn.init.normal_(small.router.head.weight)
        small.router.head.bias -= small.router.base_logits(torch.from_numpy(x)[None] / x.std()).mean((0, 1))
    return small, x


def test_a_copy_in_a_second_channel_changes_nothing(choosy, monkeypatch):
    """Every chunk of a batch runs at UFs of its own, and so do all of its channels."""
    monkeypatch.setattr("slimclean.chunking.HOP_S", 2.0)
    network, x = choosy
    mono, stereo = (Enhancer(network=network)(signal, 16_000) for signal in (x, np.stack([x, x])))
    assert len(np.unique(mono.uf)) > 2
    np.testing.assert_array_equal(stereo.uf, mono.uf)
    np.testing.assert_allclose(stereo.waveform, [mono.waveform] * 2, atol=1e-5)


def test_what_nobody_hears_has_no_say(choosy):
    """A second channel at -101 dBFS, beside a voice that is hardly louder."""
    network, x = choosy
    faint = x * np.float32(10 ** (-72 / 20))
    nothing = np.random.default_rng(2).normal(0, 10 ** (-101.5 / 20), len(x)).astype(np.float32)
    enhancer = Enhancer(network=network)
    found, wanted = (enhancer.route(signal, 16_000) for signal in (np.stack([faint, nothing]), faint))
    assert len(np.unique(wanted)) > 2
    np.testing.assert_array_equal(found, wanted)


def test_channels_are_turned_to_the_strongest():
    x = torch.randn(1, 1, 4_096, generator=torch.Generator().manual_seed(0))
    hiss = 0.01 * torch.randn(1, 1, 4_096, generator=torch.Generator().manual_seed(1)) - 0.01 * x
    power = torch.tensor([[[0.1], [1.0], [0.0001]]]).expand(-1, -1, 16)
    turned = _in_phase(torch.cat([-0.3 * x, x, hiss], 1), power)
    torch.testing.assert_close(turned, torch.cat([0.3 * x, x, -hiss], 1))


@pytest.fixture(scope="module")
def noisy():
    return audio.read(PAIR / "noisy.flac")[0][0]


@pytest.mark.parametrize("case", ["alike", "opposite", "silent", "one side", "panned", "5.1"])
def test_the_router_hears_power_and_not_a_sum_of_waves(noisy, case):
    """However a voice is spread over channels, it costs what it costs in mono."""
    nothing = np.zeros_like(noisy)
    hiss = np.random.default_rng(0).normal(0, 1e-4, len(noisy)).astype(np.float32)
    channels = {
        "alike": [noisy, noisy],
        "opposite": [noisy, -noisy],
        "silent": [nothing, noisy],
        "one side": [noisy, hiss],
        "panned": [noisy, 0.2 * noisy],
        "5.1": [noisy, noisy, 0.7 * noisy, nothing, 0.1 * noisy, hiss],
    }[case]
    enhancer = Enhancer("auto", 0.25)
    mono = enhancer.route(noisy, 16_000)
    assert enhancer.route(np.stack(channels), 16_000).mean() == pytest.approx(mono.mean(), abs=0.02)


@pytest.mark.parametrize("shape", [(1, 40), (2, 20), (3, 0.7)])
def test_routing_alone_finds_the_ufs_of_enhancing(small, shape):
    channels, seconds = shape
    x = np.stack([voice(seconds, 22_050, seed) for seed in range(channels)])
    x += np.random.default_rng(0).normal(0, 0.02, x.shape).astype(np.float32)
    enhancer = Enhancer("auto", 0.4, network=small)
    np.testing.assert_array_equal(enhancer.route(x, 22_050), enhancer(x, 22_050).uf)


def test_a_passage_is_enhanced_alike_at_any_level(small):
    """A soft guest between two loud voices comes out as the guest alone, as far as context goes."""
    host, guest = voice(6), voice(6, seed=1)
    enhancer = Enhancer(0.5, network=small)
    middle = slice(7 * 16_000, 11 * 16_000)
    wanted = enhancer(np.concatenate([host, guest, host]), 16_000).waveform[middle]
    soft = enhancer(np.concatenate([host, 0.05 * guest, host]), 16_000).waveform[middle]
    assert si_sdr(wanted, soft) > 30


def test_an_offset_is_taken_out(small):
    enhancer, x = Enhancer(0.5, network=small), voice(3)
    np.testing.assert_allclose(
        enhancer(x + np.float32(0.3), 16_000).waveform, enhancer(x, 16_000).waveform, atol=2e-3
    )


def test_silence_between_words_stays_silence(small):
    x = np.concatenate([voice(3), np.zeros(8 * 16_000, np.float32), voice(3)])
    out = Enhancer(0.5, network=small)(x, 16_000).waveform
    assert not out[5 * 16_000 : 9 * 16_000].any()
    faint = voice(3) * np.float32(1e-6)
    np.testing.assert_array_equal(Enhancer(0.5, network=small)(faint, 16_000).waveform, faint)


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 60_000),
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    channels=st.integers(1, 3),
    size=st.integers(1_000, 50_000),
    swing_db=st.floats(0, 60),
)
def test_any_level_and_any_blocks_give_back_the_input(length, rate, channels, size, swing_db):
    rng = np.random.default_rng(length)
    swing = np.cumsum(rng.normal(size=length))
    gain = 10 ** (-swing_db * np.clip(np.abs(swing) / (1 + np.abs(swing).max()), 0, 1) / 20)
    x = (rng.uniform(-1, 1, (channels, length)) * gain).astype(np.float32)
    blocks = [x[:, start : start + size] for start in range(0, length, size)]
    out = np.concatenate([block for block, _ in identity_enhancer(0.25).stream(blocks, rate)], axis=1)
    assert np.abs(out - x).max() < STEP
    np.testing.assert_array_equal(out, identity_enhancer(0.25)(x, rate).waveform)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_left_in_is_what_was_asked_for(rate):
    """Of a network that removes everything."""
    x = np.random.default_rng(0).normal(0, 0.1, (2, rate)).astype(np.float32)
    for left, options in {
        0.2: {"dry": 0.2},
        10 ** (-12 / 20): {"attenuation_limit_db": 12},
        0.5: {"dry": 0.5, "attenuation_limit_db": 12},
        10 ** (-6 / 20): {"dry": 0.1, "attenuation_limit_db": 6.0},
    }.items():
        for residual in (False, True):
            silencer = identity_enhancer(
                0.5, effect=torch.zeros_like, residual=residual, highband="drop", **options
            )
            np.testing.assert_allclose(
                silencer(x, rate).waveform, (1 - left if residual else left) * x, atol=1e-6
            )


def test_between_silence_and_sound_the_network_takes_over_bit_by_bit():
    """Of noise at -97 dBFS half is left to it, 6 dB being the whole way."""
    x = np.random.default_rng(0).normal(0, 10 ** (-97 / 20), 80_000).astype(np.float32)
    out = identity_enhancer(0.5, effect=torch.zeros_like)(x, 16_000).waveform
    assert np.sqrt(np.mean(out**2) / np.mean(x**2)) == pytest.approx(0.5, abs=0.12)


def test_the_gate_moves_when_the_network_does():
    """Half way through a change, half of the power is left."""
    noisy = np.random.default_rng(0).normal(size=(1, 128_000))
    enhanced = noisy * (np.arange(128_000) < 64_000)
    gain = highband_gain(noisy, enhanced, 256, 384_000, 48_000)[0]
    middle = np.flatnonzero(gain < np.sqrt(0.5))[0]
    assert abs(middle - 192_000) < 0.004 * 48_000


def test_the_gate_hears_the_top_of_the_band_alone():
    """A hum that is taken out, and a voice that stays, close nothing."""
    rng = np.random.default_rng(0)
    hiss = rng.normal(size=(1, 32_000))
    hum = 30 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000)
    for noisy, enhanced, left in ((hiss + hum, hiss, 1.0), (hiss + hum, 0.1 * hiss + hum, 0.1)):
        gain = highband_gain(noisy, enhanced, 256, 32_000, 16_000)[0]
        np.testing.assert_allclose(gain[1_000:-1_000], left, rtol=0.02)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_target_reaches_the_router(small, channels):
    with torch.no_grad():
        small.router.target_shift[0] = torch.tensor([9.0, 0, 0, 0, 0, 0])
        small.router.target_shift[-1] = torch.tensor([0, 0, 0, 0, 9.0, 0])
    x = np.stack([voice(0.5, seed=k) for k in range(channels)])
    low, high = (Enhancer("auto", target, network=small)(x, 16_000).uf.mean() for target in (0.1, 1.0))
    assert low < 0.2 < 0.9 < high

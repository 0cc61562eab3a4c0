"""What makes counting faster must not change the answer: FFT, folded normalisation, joined upsampling."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from cellapp.networks import fft_conv
from cellapp.networks.fcn import FCN
from cellapp.networks.fcrn import FCRNA, FCRNB
from cellapp.networks.fft_conv import FFTConv2d, faster_by_fft
from cellapp.networks.folding import fold_batch_norm
from cellapp.networks.fpn_vgg import FPNVGG11
from cellapp.networks.patch_nets import AlexNetCounter, ResNetCounter, ResponseNorm
from cellapp.networks.small_upconv import SmallUpConv2d
from cellapp.networks.thin_conv import ThinConv2d
from cellapp.networks.upconv import UpConv2d


@pytest.fixture(autouse=True)
def same_numbers():
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(7)
        yield


def difference(result: Tensor, expected: Tensor) -> float:
    """The largest difference as part of the largest value."""
    assert result.shape == expected.shape
    return float((result - expected).abs().max() / expected.abs().max())


def upsampled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


# FFT


@pytest.mark.parametrize("kernel, tile", [(14, 32), ((9, 11), 24), (18, 18)])
@pytest.mark.parametrize("size", [(18, 18), (19, 33), (41, 24), (63, 50)])
@pytest.mark.parametrize("bias", [True, False])
def test_fft_equals_the_convolution(kernel, tile, size, bias):
    conv = nn.Conv2d(3, 5, kernel, bias=bias)
    x = torch.randn(2, 3, *size)
    assert difference(FFTConv2d(conv, tile)(x), conv(x)) < 1e-5


def test_fft_with_padding_memory_format_and_several_groups(monkeypatch):
    conv = nn.Conv2d(3, 4, (5, 7), padding=(2, 5))
    x = torch.randn(2, 3, 30, 41).to(memory_format=torch.channels_last)
    whole = FFTConv2d(conv, 12)(x)
    assert difference(whole, conv(x)) < 1e-5
    monkeypatch.setattr(fft_conv, "_GROUP_VALUES", 5 * 3 * 12**2)
    assert difference(FFTConv2d(conv, 12)(x), whole) < 1e-6
    assert difference(FFTConv2d(conv)(x), conv(x)) < 1e-5
    conv = nn.Conv2d(3, 4, 5, padding=19)  # tiles of nothing but padding
    assert difference(FFTConv2d(conv, 9)(x), conv(x)) < 1e-5


def test_fft_keeps_the_state_dict_and_follows_a_new_one():
    conv, other = nn.Conv2d(2, 3, 9), nn.Conv2d(2, 3, 9)
    fast = FFTConv2d(conv, 32)
    assert {k: v.shape for k, v in fast.state_dict().items()} == {k: v.shape for k, v in conv.state_dict().items()}
    fast.load_state_dict(other.state_dict())
    x = torch.randn(1, 2, 20, 20)
    assert difference(fast(x), other(x)) < 1e-5
    assert difference(copy.deepcopy(fast)(x), other(x)) < 1e-5


def test_fft_leaves_the_convolution_alone():
    conv = nn.Conv2d(2, 3, 9)
    before = copy.deepcopy(conv.state_dict())
    fast = FFTConv2d(conv, 32)
    fast.weight.zero_()
    assert all(torch.equal(before[k], v) for k, v in conv.state_dict().items())
    assert conv.weight.requires_grad and not fast.weight.requires_grad


@pytest.mark.parametrize("change", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": "same"},
                                    {"padding": 1, "padding_mode": "reflect"}])
def test_fft_refuses_what_it_cannot_do(change):
    conv = nn.Conv2d(64, 64, 15, **change)
    assert not faster_by_fft(conv, 300, 300)
    with pytest.raises(ValueError, match="by FFT"):
        FFTConv2d(conv, 64)


def test_fft_refuses_tiles_and_inputs_below_the_kernel():
    conv = nn.Conv2d(2, 3, 9)
    with pytest.raises(ValueError, match="tile of 8"):
        FFTConv2d(conv, 8)
    with pytest.raises(ValueError, match="8×30"):
        FFTConv2d(conv, 32)(torch.zeros(1, 2, 8, 30))
    assert not faster_by_fft(conv, 8, 30)


def test_fft_is_chosen_for_large_kernels_and_many_channels():
    # Measured with two threads: these are 3 to 11 times as fast, the others slower or hardly faster.
    assert faster_by_fft(nn.Conv2d(48, 16, 14), 318, 318)
    assert faster_by_fft(nn.Conv2d(128, 32, 18), 305, 305)
    assert faster_by_fft(nn.Conv2d(256, 256, 5, padding=2), 128, 128)
    assert not faster_by_fft(nn.Conv2d(128, 256, 3, padding=1), 128, 128)
    assert not faster_by_fft(nn.Conv2d(256, 1, 5, padding=2), 256, 256)
    assert not faster_by_fft(nn.Conv2d(128, 32, 18), 18, 18)


# Folded batch normalisation


def randomise(network: nn.Module) -> nn.Module:
    """Batch statistics and scales as after a training."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.3)
    return network


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())


def nested() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
                         nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU())


@pytest.mark.parametrize("build", [nested, resnet18, resnet50])
def test_folding_keeps_the_answer_and_the_original(build):
    network = randomise(build())
    before, count, x = copy.deepcopy(network.state_dict()), norms(network), torch.randn(2, 3, 48, 40)
    folded = fold_batch_norm(network)
    assert network.training and norms(network) == count
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert norms(folded) == 0 and not any(m.training for m in folded.modules())
    assert difference(folded(x), network.eval()(x)) < 1e-4


def test_folding_leaves_what_does_not_belong_together():
    network = randomise(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6),
                                      nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5, affine=False)))
    folded, x = fold_batch_norm(network), torch.randn(1, 3, 12, 12)
    assert norms(folded) == 3
    assert difference(folded(x), network.eval()(x)) == 0


# Upsampling and convolution in one


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 9), (4, 4), (5, 8), (16, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_joined_upsampling_is_equal_up_to_the_rim(size, bias):
    conv = nn.Conv2d(6, 3, 5, padding=2, bias=bias)
    fast, x = UpConv2d(conv), torch.randn(2, 6, *size)
    assert difference(fast(x), conv(upsampled(x))) < 1e-5
    assert difference(fast(x.to(memory_format=torch.channels_last)), conv(upsampled(x))) < 1e-5


def test_joined_upsampling_keeps_the_state_dict_and_follows_a_new_one():
    conv, other = nn.Conv2d(2, 3, 5, padding=2), nn.Conv2d(2, 3, 5, padding=2)
    fast = UpConv2d(conv)
    assert {k: v.shape for k, v in fast.state_dict().items()} == {k: v.shape for k, v in conv.state_dict().items()}
    fast.load_state_dict(other.state_dict())
    x = torch.randn(1, 2, 7, 6)
    assert difference(fast(x), other(upsampled(x))) < 1e-5


@pytest.mark.parametrize("change", [{"kernel_size": 3}, {"padding": 0}, {"padding": "same"}, {"stride": 2},
                                    {"dilation": 2}, {"groups": 2}, {"padding_mode": "replicate"}])
def test_joined_upsampling_refuses_other_convolutions(change):
    with pytest.raises(ValueError, match="5×5"):
        UpConv2d(nn.Conv2d(4, 4, **({"kernel_size": 5, "padding": 2} | change)))


@pytest.mark.parametrize("size, large", [((1, 1), (2, 2)), ((2, 3), (4, 6)), ((5, 4), (11, 8)), ((7, 9), (15, 19)),
                                         ((12, 12), (12, 12)), ((9, 6), (5, 4))])
def test_upsampling_after_the_products_is_equal_up_to_the_rim(size, large):
    conv, x = nn.Conv2d(6, 4, 3, padding=1), torch.randn(2, 6, *size)
    expected = conv(F.interpolate(x, size=large, mode="bilinear", align_corners=False))
    result = SmallUpConv2d(conv)(x.to(memory_format=torch.channels_last), large)
    assert difference(result, expected) < 1e-5
    assert result.is_contiguous(memory_format=torch.channels_last), "or the next layer copies it"


def test_upsampling_after_the_products_follows_new_weights():
    conv, other, x = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1), torch.randn(1, 3, 5, 5)
    joined = SmallUpConv2d(conv)
    assert joined.state_dict().keys() == conv.state_dict().keys()
    joined.load_state_dict(other.state_dict())
    assert difference(joined(x, (10, 10)), other(upsampled(x))) < 1e-5


@pytest.mark.parametrize("change", [{"kernel_size": 5}, {"padding": 0}, {"padding": "same"}, {"stride": 2},
                                    {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}, {"bias": False}])
def test_upsampling_after_the_products_refuses_other_convolutions(change):
    with pytest.raises(ValueError, match="only 3×3"):
        SmallUpConv2d(nn.Conv2d(4, 4, **{"kernel_size": 3, "padding": 1} | change))


@pytest.mark.parametrize("build", [FCRNA, FCN])
@pytest.mark.parametrize("size", [(8, 8), (45, 100), (64, 48)])
def test_fast_fcrn_a_is_fcrn_a(build, size):
    network, image = build().eval(), torch.randn(2, 1, *size)
    before, expected = image.clone(), network(image)
    for layout in (torch.contiguous_format, torch.channels_last):
        fast = network.to(memory_format=layout).fast()
        assert difference(fast(image.to(memory_format=layout)), expected) < 1e-5
    assert torch.equal(image, before) and fast.state_dict().keys() == network.state_dict().keys()


def test_fast_fcrn_b_is_fcrn_b():
    network = FCRNB()
    for conv in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        conv.bias.normal_(0, 0.1)
    fast = network.fast()
    assert list(fast.state_dict()) == list(network.state_dict())
    inputs = [torch.randn(1, 1, *size) for size in [(64, 48), (50, 50), (4, 7)]]  # 50 and 7: not exactly doubled
    for memory_format in (torch.contiguous_format, torch.channels_last):
        fast = fast.to(memory_format=memory_format)
        for x in inputs:
            assert difference(fast(x), network(x)) < 1e-5


# Patch networks


@pytest.mark.parametrize("build", [lambda: AlexNetCounter(2, hidden=16), lambda: ResNetCounter(18, 2, side=32),
                                   lambda: ResNetCounter(50, 2, side=64)])
def test_a_patch_network_for_counting_is_the_trained_one(build):
    network = build().eval()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fast = fold_batch_norm(network).fast()
    for windows in (torch.randn(3, 1, 40, 40), 50 * torch.randn(1, 1, 60, 60)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            assert difference(fast(windows.to(memory_format=memory_format)), network(windows)) < 1e-5
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_response_norm_refuses_other_constants():
    with pytest.raises(ValueError, match="beta"):
        ResponseNorm(nn.LocalResponseNorm(5, beta=0.5))


# One channel


def test_a_convolution_to_one_channel_equals_its_nine_products():
    conv = nn.Conv2d(40, 1, 3, padding=1)
    for shape in ((1, 40, 17, 23), (2, 40, 1, 5)):
        x = torch.randn(*shape)
        assert difference(ThinConv2d(conv)(x), conv(x)) < 1e-6
    for other in (nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(4, 1, 3), nn.Conv2d(4, 1, 5, padding=2)):
        with pytest.raises(ValueError, match="to one channel"):
            ThinConv2d(other)


def test_the_mask_network_for_counting_draws_the_same_mask():
    network = FPNVGG11(64, 96).eval()
    image = torch.rand(1, 1, 64, 96)
    fast = network.fast()
    for mine, own in zip(fast.fpn.finest(image), network.fpn.finest(image), strict=True):
        assert difference(mine, own) < 1e-5
    assert isinstance(network.fpn.means[-1][-1], nn.Conv2d), "the network that is trained stays as it is"

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close

from mmdcls.analysis.convolution_comparison import (
    DepthwiseConv2d,
    Settings,
    accuracy,
    compare,
    count_parameters,
    largest_below,
    load_splits,
    make_variants,
    place,
    train,
)
from mmdcls.layers import iter_dcls_layers

SMALL = Settings(width=12, canvas=24, scales=(1.5, 2.5), steps=2, batch_size=4)


@pytest.mark.parametrize('kernel_size, dilation', [(5, 1), (5, 4), (3, 2), (1, 3)])
def test_depthwise_convolution_is_pytorchs(kernel_size, dilation):
    torch.manual_seed(0)
    layer = DepthwiseConv2d(3, kernel_size, dilation).double()
    x = torch.randn(2, 3, 11, 9, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(
        x,
        layer.weight,
        layer.bias,
        padding=dilation * (kernel_size - 1) // 2,
        dilation=dilation,
        groups=3,
    )
    actual = layer(x)
    assert_close(actual, expected, 'output')
    weights = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(actual, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    ):
        assert_close(a, b, 'gradient')


def test_parameter_counts_are_equal_but_for_the_wide_dense_network():
    variants = {variant.name: variant for variant in make_variants(Settings())}
    budget = variants['standard'].parameters
    assert variants['dilated'].parameters == budget
    for name in ('DCLS', 'DCLS, uniform start', 'dense, narrow'):
        assert 0.9 * budget < variants[name].parameters <= budget
    assert variants['dense'].parameters > 2 * budget
    for variant in variants.values():
        assert count_parameters(variant.build()) == variant.parameters
    widths = {name: variant.width for name, variant in variants.items()}
    assert widths.pop('dense, narrow') < 32 and set(widths.values()) == {32}


def test_large_kernels_span_alike():
    for variant in make_variants(Settings()):
        layer = variant.build().blocks[0].depthwise_conv
        if isinstance(layer, DepthwiseConv2d):
            span = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
        else:
            span = layer.dilated_kernel_size[0]
        assert span == (5 if variant.name == 'standard' else 17), variant.name


def test_dcls_shares_positions_between_blocks():
    variants = {variant.name: variant for variant in make_variants(SMALL)}
    layers = list(iter_dcls_layers(variants['DCLS'].build()))
    assert len(layers) == 2 and layers[0].positions is layers[1].positions
    uniform = list(iter_dcls_layers(variants['DCLS, uniform start'].build()))[0]
    assert uniform.positions.std() > 3 > layers[0].positions.std()


def test_largest_below():
    assert largest_below(100, lambda n: torch.nn.Linear(n, 3), 'width') == 32
    with pytest.raises(ValueError, match='No width is small enough for 5 parameters'):
        largest_below(5, lambda n: torch.nn.Linear(n, 3), 'width')


def test_splits_do_not_overlap_and_hold_all_digits():
    (train_images, train_labels), (test_images, test_labels) = load_splits()
    assert len(test_images) == 500 and len(train_images) == 1297
    assert train_images.min() == 0 and train_images.max() == 1
    assert set(train_labels.tolist()) == set(test_labels.tolist()) == set(range(10))
    rows = {tuple(image.flatten().tolist()) for image in train_images}
    repeated = sum(tuple(image.flatten().tolist()) in rows for image in test_images)
    assert repeated == 0


def test_digits_are_placed_whole_and_at_the_scale():
    settings = Settings(canvas=40, scales=(2.0, 4.0))
    images = torch.ones(300, 1, 8, 8)
    placed = place(images, settings, torch.Generator().manual_seed(0))
    assert placed.shape == (300, 1, 40, 40)
    # A white square of side s holds s * s of white, wherever it lies.
    sides = placed.sum((1, 2, 3)).sqrt()
    assert 15 < sides.min() < 18 and 30 < sides.max() < 33
    rows = torch.arange(40.0)
    centres = (placed.sum((1, 3)) * rows).sum(1) / placed.sum((1, 2, 3))
    assert centres.min() < 14 and centres.max() > 26


def test_placing_follows_the_generator():
    (images, _), _ = load_splits()
    first, again, other = (
        place(images[:4], SMALL, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_training_is_reproducible_and_clamps():
    variant = make_variants(SMALL)[2]
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        model = variant.build()
        with torch.no_grad():
            model.blocks[0].depthwise_conv.positions[0, 0] = 20.0
        train(model, SMALL, seed=0)
        states.append(model.state_dict())
        assert model.blocks[0].depthwise_conv.positions.abs().max() == 8
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)


def test_network_learns_what_it_is_shown():
    """Far above chance (10 %) after half a minute's work."""
    settings = Settings(width=16, canvas=24, scales=(2.0, 3.0), steps=150)
    torch.manual_seed(0)
    model = make_variants(settings)[2].build()
    before = accuracy(model, settings)
    train(model, settings, seed=0)
    assert before < 30 < 60 < accuracy(model, settings)


def test_every_variant_is_run_with_every_seed():
    lines = []
    results = compare(SMALL, 2, lines.append)
    assert len(results) == 6 and len(lines) == 12
    for result in results:
        first, second = result['accuracies']
        assert result['mean'] == pytest.approx((first + second) / 2)
        assert result['std'] == pytest.approx(abs(first - second) / 2**0.5)
    again = compare(SMALL, 1, lines.append)
    assert [result['std'] for result in again] == [None] * 6
    # A seed gives the same network whatever the other seeds are.
    first_seeds = [result['accuracies'][0] for result in results]
    assert [result['mean'] for result in again] == pytest.approx(first_seeds)


def test_bad_arguments():
    with pytest.raises(ValueError, match='seeds=0 must be at least 1'):
        compare(SMALL, 0)
    with pytest.raises(ValueError, match='kernel_size=5 cannot be dilated to span'):
        make_variants(Settings(large_kernel_size=16))

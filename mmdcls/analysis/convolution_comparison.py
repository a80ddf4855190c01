"""Which depthwise convolution learns best, at an equal number of parameters.

scikit-learn's scanned digits are placed on larger canvases, at random places and
scales. Even the smallest, of 24 pixels, is larger than the 20 pixels that a position of
the standard network's last map sees; the large kernels see all of most digits.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConv2d, iter_dcls_layers
from mmdcls.ops import depthwise_conv2d

# Places of each test digit; the digits and their places are the same for every run.
TEST_PLACES, TEST_DIGITS, TEST_SEED = 4, 500, 0


@dataclass(frozen=True)
class Settings:
    """The network and its training.

    Attributes:
        width: Channels of the reference, the standard convolution.
        blocks: Residual blocks, with one depthwise convolution each.
        kernel_size: Side of the standard kernel.
        large_kernel_size: Side that the large kernels span.
        canvas: Side of the images, in pixels.
        scales: Smallest and largest factor by which the 8x8 digits are enlarged.
        steps: The number of steps of the optimizer.
        batch_size: Images in a step.
        lr: Learning rate of AdamW at its peak.
    """

    width: int = 32
    blocks: int = 2
    kernel_size: int = 5
    large_kernel_size: int = 17
    canvas: int = 56
    scales: tuple[float, float] = (3.0, 7.0)
    steps: int = 250
    batch_size: int = 32
    lr: float = 4e-3


@dataclass(frozen=True)
class Variant:
    """A depthwise convolution to compare.

    Attributes:
        name: The name of the variant.
        kernel: The description of its kernels, in words.
        width: Channels of its network.
        parameters: The number of parameters of its network.
        build: Makes the network, with random weights.
    """

    name: str
    kernel: str
    width: int
    parameters: int
    build: Callable[[], nn.Module]


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that keeps the map's size, fast on a CPU.

    Equal to ``nn.Conv2d(channels, channels, kernel_size, dilation=dilation,
    groups=channels)`` with the padding for it; runs as DCLS layers do.

    Args:
        channels: The number of channels of input and output.
        kernel_size: Side of the square kernel; odd.
        dilation: Distance of the kernel's elements, in pixels.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=channels,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, channels, H, W)``."""
        dilation, kernel = self.dilation[0], self.weight
        span = dilation * (self.kernel_size[0] - 1) + 1
        if dilation > 1:
            kernel = kernel.new_zeros(*kernel.shape[:2], span, span)
            kernel[..., ::dilation, ::dilation] = self.weight
        return depthwise_conv2d(x, kernel, self.bias, padding=span // 2)


class Block(nn.Module):
    """A residual block: depthwise convolution, norm, two pointwise layers."""

    def __init__(self, depthwise: nn.Module, channels: int) -> None:
        super().__init__()
        self.depthwise_conv = depthwise
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise_conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.pointwise_conv2 = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add to ``(N, C, H, W)`` what the block finds."""
        y = self.norm(self.depthwise_conv(x))
        return x + self.pointwise_conv2(F.gelu(self.pointwise_conv1(y)))


class Network(nn.Module):
    """Stem of stride 2, blocks, average over the map, classifier of ten digits.

    Args:
        depthwise: Makes the depthwise convolution of a block, given those before it.
        channels: The number of channels of all blocks.
        blocks: The number of blocks.
    """

    def __init__(
        self, depthwise: Callable[[list], nn.Module], channels: int, blocks: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 4, stride=2, padding=1)
        convolutions: list[nn.Module] = []
        for _ in range(blocks):
            convolutions.append(depthwise(convolutions))
        self.blocks = nn.Sequential(*(Block(conv, channels) for conv in convolutions))
        self.norm = nn.BatchNorm1d(channels)
        self.head = nn.Linear(channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Give the scores, ``(N, 10)``, of ``(N, 1, H, W)``."""
        x = self.stem(images).to(memory_format=torch.channels_last)
        return self.head(self.norm(self.blocks(x).mean((2, 3))))


def count_parameters(model: nn.Module) -> int:
    """Count the parameters; shared ones count once."""
    return sum(param.numel() for param in model.parameters())


def dense_network(
    settings: Settings, width: int, kernel_size: int, dilation: int = 1
) -> Network:
    """Make a network with plain depthwise convolutions."""
    return Network(
        lambda before: DepthwiseConv2d(width, kernel_size, dilation),
        width,
        settings.blocks,
    )


def dcls_network(
    settings: Settings, kernel_count: int, position_init: str = 'normal'
) -> Network:
    """Make a network with DCLS convolutions that share their positions."""
    size, width = settings.large_kernel_size, settings.width

    def depthwise(before: list) -> DCLSConv2d:
        return DCLSConv2d(
            width,
            width,
            kernel_count,
            size,
            padding=size // 2,
            groups=width,
            position_init=position_init,
            positions=before[0].positions if before else None,
        )

    return Network(depthwise, width, settings.blocks)


def make_variants(settings: Settings) -> list[Variant]:
    """Return the convolutions to compare, the standard one first.

    Standard, dilated and DCLS networks have the same width. The number of elements of a
    DCLS kernel is the largest that needs no more parameters than the standard network
    (the paper's rule, §3), and so is the width of the narrow dense network. Positions
    start from the normal law and, in a second DCLS network, from the uniform one (§3).

    Raises:
        ArgumentError: If the standard kernel cannot be dilated to span the large one,
            or if no DCLS or narrow network is small enough.
    """
    small, large, width = (
        settings.kernel_size,
        settings.large_kernel_size,
        settings.width,
    )
    dilation, rest = divmod(large - 1, small - 1)
    if rest:
        raise ArgumentError(
            f'kernel_size={small} cannot be dilated to span large_kernel_size={large}.'
        )
    budget = count_parameters(dense_network(settings, width, small))
    count = largest_below(budget, lambda m: dcls_network(settings, m), 'kernel_count')
    narrow = largest_below(budget, lambda w: dense_network(settings, w, large), 'width')
    kernels = {
        'standard': (f'{small}x{small}', width, (small, 1)),
        'dilated': (f'{small}x{small}, dilation {dilation}', width, (small, dilation)),
        'dense, narrow': (f'{large}x{large}', narrow, (large, 1)),
        'dense': (f'{large}x{large}', width, (large, 1)),
    }
    variants = [
        _variant(
            name,
            kernel,
            channels,
            lambda c=channels, k=k: dense_network(settings, c, *k),
        )
        for name, (kernel, channels, k) in kernels.items()
    ]
    words = f'{large}x{large}, {count} elements'
    dcls = [
        _variant(name, words, width, lambda i=init: dcls_network(settings, count, i))
        for name, init in (('DCLS', 'normal'), ('DCLS, uniform start', 'uniform'))
    ]
    return [*variants[:2], *dcls, *variants[2:]]


def _variant(name, kernel, width, build) -> Variant:
    return Variant(name, kernel, width, count_parameters(build()), build)


def largest_below(budget: int, build: Callable[[int], nn.Module], name: str) -> int:
    """Return the largest size whose network has at most ``budget`` parameters.

    Raises:
        ArgumentError: If even size 1 has more; ``name`` says of what.
    """
    size = 0
    while count_parameters(build(size + 1)) <= budget:
        size += 1
    if size == 0:
        raise ArgumentError(f'No {name} is small enough for {budget} parameters.')
    return size


def load_splits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Train and test digits: images ``(N, 1, 8, 8)`` in [0, 1], and their labels."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(TEST_SEED)
    order = torch.randperm(len(images), generator=generator)
    test, train = order[:TEST_DIGITS], order[TEST_DIGITS:]
    return (images[train], labels[train]), (images[test], labels[test])


def place(images: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Enlarge digits and put each somewhere on a black canvas, wholly inside.

    Args:
        images: ``(N, 1, 8, 8)``.
        settings: The settings, which have the canvas and the scales.
        generator: Source of all chance.

    Returns:
        ``(N, 1, canvas, canvas)``.
    """
    low, high = settings.scales
    chance = torch.rand(3, len(images), generator=generator)
    # Side of the digit as a part of the canvas, and its centre in [-1, 1].
    side = (low + (high - low) * chance[0]) * images.shape[-1] / settings.canvas
    centre = (2 * chance[1:] - 1) * (1 - side)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / side
    theta[:, :, 2] = -(centre / side).T
    size = (len(images), 1, settings.canvas, settings.canvas)
    grid = F.affine_grid(theta, list(size), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train(model: nn.Module, settings: Settings, seed: int) -> None:
    """Train ``model`` in place, with AdamW and a cosine after a short warm-up.

    Positions are trained as the paper says: without decay, at five times the learning
    rate, clamped after each step.
    """
    (images, labels), _ = load_splits()
    generator = torch.Generator().manual_seed(seed)
    optimizer = build_optim_wrapper(
        model,
        dict(
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=settings.lr, weight_decay=0.05),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
        ),
    ).optimizer
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, settings.steps)
    )
    layers = list(iter_dcls_layers(model))
    model.train()
    for _ in range(settings.steps):
        chosen = torch.randint(len(images), (settings.batch_size,), generator=generator)
        batch = place(images[chosen], settings, generator)
        loss = F.cross_entropy(model(batch), labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        for layer in layers:
            layer.clamp_positions()


def _rate(step: int, steps: int) -> float:
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


@torch.no_grad()
def accuracy(model: nn.Module, settings: Settings) -> float:
    """Share of test digits that ``model`` reads right, in percent."""
    _, (images, labels) = load_splits()
    generator = torch.Generator().manual_seed(TEST_SEED)
    model.eval()
    right = 0
    for _ in range(TEST_PLACES):
        scores = model(place(images, settings, generator))
        right += int((scores.argmax(1) == labels).sum())
    return 100 * right / (TEST_PLACES * len(labels))


def compare(
    settings: Settings, seeds: int, show: Callable[[str], None] = print
) -> list[dict]:
    """Train every variant ``seeds`` times.

    Args:
        settings: The settings of all runs.
        seeds: Number of runs a variant; they differ in weights and batches.
        show: A function that is told about every run that ends.

    Returns:
        One dictionary a variant: ``name``, ``kernel``, ``width``, ``parameters``,
        ``accuracies`` (one a seed, in percent), their ``mean`` and sample standard
        deviation ``std`` (None for one seed), ``seconds`` a run.

    Raises:
        ArgumentError: If ``seeds`` is below 1, or a digit larger than the canvas.
    """
    if seeds < 1:
        raise ArgumentError(f'seeds={seeds} must be at least 1.')
    largest = math.ceil(settings.scales[1] * 8)
    if settings.canvas < largest:
        raise ArgumentError(
            f'canvas={settings.canvas} must be at least {largest}, the side of the '
            'largest digit.'
        )
    variants = make_variants(settings)
    results: dict[str, dict[str, Any]] = {
        variant.name: dict(
            name=variant.name,
            kernel=variant.kernel,
            width=variant.width,
            parameters=variant.parameters,
            accuracies=[],
            seconds=0.0,
        )
        for variant in variants
    }
    # By seed first, so that whatever slows the machine slows all variants.
    for seed in range(seeds):
        for variant in variants:
            start = time.perf_counter()
            torch.manual_seed(seed)
            model = variant.build()
            train(model, settings, seed)
            result = results[variant.name]
            result['accuracies'].append(accuracy(model, settings))
            result['seconds'] += (time.perf_counter() - start) / seeds
            show(f'seed {seed}, {variant.name}: {result["accuracies"][-1]:.1f} %')
    for result in results.values():
        result['mean'] = statistics.mean(result['accuracies'])
        result['std'] = statistics.stdev(result['accuracies']) if seeds > 1 else None
    return list(results.values())

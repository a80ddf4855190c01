"""Whole models in the report on speed: DCLS against plain ConvNeXt and against ATen.

The plain model, the DCLS model, and the DCLS model on PyTorch's own convolutions (ATen)
take turns in every row. What one row cannot run, another may: it says so, and the rest
goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from mmdcls.configs import read_config
from mmdcls.layers import iter_dcls_layers
from mmdcls.ops.benchmark.complete import failure
from mmdcls.ops.benchmark.layers import Settings as DeviceSettings
from mmdcls.ops.benchmark.section import Rows, Section
from mmdcls.ops.benchmark.timing import interleaved, peak_memory

from .throughput import MODES, Contender, Settings

LAYOUTS = ('channels_last', 'nchw')


@dataclass(frozen=True)
class Pair:
    """A DCLS model and the plain one that it stands for.

    Attributes:
        name: What the report calls them.
        plain: The config of the plain model.
        dcls: The config of the DCLS model.
        batch_sizes: Images in a batch of inference, and of training.
        shapes: Height and width of the images of inference, and of training.
        bfloat16_training: Whether all operators of a training take bfloat16; mmcv's
            RoIAlign does not.
    """

    name: str
    plain: str
    dcls: str
    batch_sizes: tuple[int, int]
    shapes: tuple[tuple[int, int], tuple[int, int]]
    bfloat16_training: bool = True


def _imagenet(letter, size, batch_sizes):
    return Pair(
        f'ConvNeXt-{letter}',
        f'mmpretrain::convnext/convnext-{size}_32xb128_in1k.py',
        f'mmdcls::imagenet/convnext-dcls-{size}_32xb128_in1k.py',
        batch_sizes,
        ((224, 224), (224, 224)),
    )


_UPERNET = 'mmdcls::ade20k/upernet_convnext{}-tiny_8xb2-amp-160k_ade20k-512x512.py'
_CASCADE = (
    'mmdcls::coco/'
    'cascade-mask-rcnn_convnext{}-tiny_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)


def _cascade(name, inference, training):
    return Pair(
        name,
        _CASCADE.format(''),
        _CASCADE.format('-dcls'),
        (1, 2),
        (inference, training),
        bfloat16_training=False,
    )


PAIRS = (
    _imagenet('T', 'tiny', (128, 128)),
    Pair(
        'UperNet-T',
        _UPERNET.format(''),
        _UPERNET.format('-dcls'),
        (2, 2),
        ((512, 512), (512, 512)),
    ),
    # The largest images of the multi-scale training, and middling ones.
    _cascade('Cascade-T', (800, 1280), (800, 1344)),
    _imagenet('S', 'small', (128, 64)),
    _imagenet('B', 'base', (128, 64)),
    _cascade('Cascade-T, middling images', (640, 864), (640, 864)),
)
"""What the paper times (Tables 1 to 4), the most important pair first."""

_MINI = {
    'ConvNeXt-atto': 'mmdcls::mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py',
    'UperNet-atto': (
        'mmdcls::mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'
    ),
    'Cascade-atto': (
        'mmdcls::mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
    ),
}
QUICK_PAIRS = tuple(
    Pair(name, config, config, (1, 2), ((64, 64), (64, 64)))
    for name, config in _MINI.items()
)
"""Small models, each against itself: only to see it run."""


def model_sections(
    pairs: tuple[Pair, ...] = PAIRS, compile_backend: str = 'inductor'
) -> dict[str, Section]:
    """Return the sections on whole models, by their titles.

    Args:
        pairs: The models; of the first one it is timed how it compiles.
        compile_backend: What compiles, as in ``torch.compile``.
    """

    def compiled(settings: DeviceSettings) -> Rows:
        return compiled_times(settings, pairs[0], compile_backend)

    def graphs(settings: DeviceSettings) -> Rows:
        return graph_times(settings, pairs[0])

    def usual(settings: DeviceSettings) -> Rows:
        return model_times(settings, pairs, _combinations(settings)[:1])

    def others(settings: DeviceSettings) -> Rows:
        return model_times(settings, pairs, _combinations(settings)[1:])

    return {
        'Whole models': Section(usual, seconds=20),
        'Backbones from CUDA graphs': Section(graphs, needs_gpu=True, seconds=15),
        'Whole models, compiled': Section(compiled, seconds=100),
        'Whole models in other formats': Section(others, seconds=20),
    }


def _combinations(settings):
    """Return layouts with the data types of half precision, the usual ones first."""
    return list(itertools.product(LAYOUTS, settings.dtypes[:2]))


def model_times(
    settings: DeviceSettings,
    pairs: Sequence[Pair],
    combinations: Sequence[tuple[str, torch.dtype]],
) -> Rows:
    """Time pairs in both modes, in some layouts and data types.

    A training step has the loss, the gradients, the optimizer and the clamping.
    """
    for pair in pairs:
        for (layout, dtype), mode in itertools.product(combinations, MODES):
            half = dtype == torch.bfloat16 and mode == 'training'
            if half and not pair.bfloat16_training:
                continue
            yield _row(settings, pair, mode, dtype, layout)
        _build.cache_clear()


def compiled_times(settings: DeviceSettings, pair: Pair, backend: str) -> Rows:
    """Time a pair under ``torch.compile``."""
    for mode in MODES:
        options = dict(compile=True, compile_backend=backend)
        yield _row(settings, pair, mode, settings.dtypes[0], LAYOUTS[0], **options)
    _build.cache_clear()


def _row(settings, pair, mode, dtype, layout, **options):
    batch_size = pair.batch_sizes[MODES.index(mode)]
    height, width = pair.shapes[MODES.index(mode)]
    row = {
        'models': pair.name,
        'mode': mode,
        'batch': f'{batch_size}x{height}x{width}',
        'dtype': str(dtype).removeprefix('torch.'),
        'layout': layout,
    }
    how = Settings(
        batch_size=batch_size,
        shape=(height, width),
        device=settings.device.type,
        amp=dtype != torch.float32,
        amp_dtype=dtype,
        channels_last=layout == 'channels_last',
        **options,
    )
    try:
        return row | _measure(settings, pair, mode, how)
    except Exception as error:
        return row | {'result': failure(error)}


def _measure(settings, pair, mode, how):
    plain, dcls = (
        _build(config).with_settings(how) for config in (pair.plain, pair.dcls)
    )
    steps = {'plain': plain.prepare(mode)}
    # A compiled model runs on ATen anyway.
    for name in ('dcls',) if how.compile else ('dcls', 'aten'):
        steps[name] = _on_backend(dcls, mode, 'aten' if name == 'aten' else 'auto')
    for step in steps.values():
        step()
    repetitions = min(settings.repetitions, 5)
    times = interleaved(steps, repetitions, settings.device)
    row = {f'{name}, ms': f'{value:.2f}' for name, value in times.items()}
    for name in times:
        if name != 'dcls':
            row[f'{name} / dcls'] = f'{times[name] / times["dcls"]:.3f}'
    if settings.device.type == 'cuda':
        for name in ('plain', 'dcls'):
            peak = peak_memory(steps[name], settings.device)
            row[f'{name}, MB'] = f'{peak / 2**20:.0f}'
    return row


def _on_backend(contender, mode, backend):
    """Return a step of a model whose depthwise convolutions run on a backend."""
    step = contender.prepare(mode)
    layers = list(iter_dcls_layers(contender.model))

    def run():
        for layer in layers:
            layer.backend = backend
        return step()

    return run


def graph_times(settings: DeviceSettings, pair: Pair) -> Rows:
    """Time a pair's backbones, forward and backward, from a CUDA graph."""
    for mode in MODES:
        row = {'models': pair.name, 'mode': mode, 'dtype': 'float16'}
        how = Settings(
            pair.batch_sizes[0], pair.shapes[0], settings.device.type, amp=True
        )
        try:
            steps: dict[str, Callable[[], object]] = {}
            for name, config in (('plain', pair.plain), ('dcls', pair.dcls)):
                contender = _build(config).with_settings(how)
                step = _backbone_step(contender, mode)
                steps[name] = step
                steps[f'{name}, graph'] = _captured(step)
            times = interleaved(steps, settings.repetitions, settings.device)
        except Exception as error:
            yield row | {'result': failure(error)}
            continue
        yield row | {f'{name}, ms': f'{value:.2f}' for name, value in times.items()}
    _build.cache_clear()


def _backbone_step(contender, mode):
    backbone, images = contender.model.backbone, contender.images
    backbone.train(mode == 'training')
    parameters = [p for p in backbone.parameters() if p.requires_grad]

    def run():
        # Casts that are kept from before a capture would be of freed memory.
        with torch.autocast('cuda', torch.float16, cache_enabled=False):
            if mode == 'inference':
                with torch.no_grad():
                    return backbone(images)
            loss = sum(output.float().square().mean() for output in backbone(images))
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    return run


def _captured(step):
    """Return a function that replays what ``step`` launches."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay():
        graph.replay()
        return kept

    return replay


@cache
def _build(config: str) -> Contender:
    cfg = read_config(config)
    return Contender(cfg, Settings(batch_size=1, shape=(64, 64)))

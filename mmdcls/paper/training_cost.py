"""What the paper's trainings and robustness sweeps cost, derived and not measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmdcls.analysis.complexity import complexity_of_config
from mmdcls.files import markdown_table
from mmdcls.layers import iter_dcls_layers

from .printed_tables import TABLES, Row

IMAGES = {
    'imagenet': 1_281_167,
    # With an annotation, which mmdet keeps (filter_empty_gt).
    'coco': 117_266,
}
"""Training images of the data sets whose trainings count epochs."""

SWEEP = {
    'clean': 50_000,
    'ImageNet-C': 15 * 5 * 50_000,
    'ImageNet-C-bar': 10 * 5 * 50_000,
    'ImageNet-A': 7_500,
    'ImageNet-R': 30_000,
    'ImageNet-Sketch': 50_889,
}
"""Images of Table 5."""

BACKWARD = 2.0
"""Cost of a backward pass, in forward passes: one product for the gradient of the input
and one for that of the weight."""

THROUGHPUT_SHAPE = (512, 512)
"""Of the images that the throughputs of Tables 3 and 4 were measured on."""


@dataclass(frozen=True)
class Cost:
    """What a training costs.

    Attributes:
        table: The number of the paper's table.
        model: The paper's name of the model.
        config: The config of the training.
        images: The number of images that the training sees.
        batch: Images of a step.
        gflops: Counted multiply-accumulates of an image, in G, at the shape that its
            throughput was measured on.
        throughput: The paper's, of inference, in images a second of one GPU.
        gpu: The GPU that the paper measured it on.
        scale: Counted FLOPs of a training image over those of an image that the
            throughput was measured on.
        exaflops: Floating-point operations of the whole training, two a
            multiply-accumulate, in 1e18.
        gpu_hours: ``images * scale * (1 + BACKWARD) / throughput / 3600``.
        images_per_second: What a training of one day needs: ``images / 86400``.
        gpus_for_a_day: ``gpu_hours / 24``.
        gradient_bytes: What a step exchanges in float32, a gradient a parameter.
        position_bytes: That of it which are positions.
        position_tensors: In so many tensors.
    """

    table: int
    model: str
    config: str
    images: int
    batch: int
    gflops: float
    throughput: float
    gpu: str
    scale: float
    exaflops: float
    gpu_hours: float
    images_per_second: float
    gpus_for_a_day: float
    gradient_bytes: int
    position_bytes: int
    position_tensors: int


def training_costs(root: Path, tables: Sequence[int] = (2, 3, 4)) -> list[Cost]:
    """Derive the costs of the trainings of these tables with learnable spacings.

    Args:
        root: The repository, below which the configs lie.
        tables: The numbers of the tables: 2 (ImageNet), 3 (ADE20K), 4 (COCO).
    """
    rows = [
        (number, row)
        for number in tables
        for row in TABLES[number].rows
        if 'dcls' in row.model and row.config and 'throughput' in row.printed
    ]
    return [_cost(number, row, root) for number, row in rows]


def _cost(table: int, row: Row, root: Path) -> Cost:
    assert row.config is not None
    cfg = Config.fromfile(root / row.config)
    task = Path(row.config).parent.name
    batch = _batch(cfg, row.config)
    loop = cfg.train_cfg
    if loop.get('max_epochs'):
        images = loop.max_epochs * IMAGES[task]
    else:
        images = loop.max_iters * batch
    measured = (224, 224) if table == 2 else THROUGHPUT_SHAPE
    flops = complexity_of_config(cfg, measured).flops
    # Crops are of the shape that the throughput is of, but for detection.
    trained = complexity_of_config(cfg).flops if task == 'coco' else flops
    throughput, scale = float(row.printed['throughput']), trained / flops
    hours = images * scale * (1 + BACKWARD) / throughput / 3600
    return Cost(
        table=table,
        model=row.model,
        config=row.config,
        images=images,
        batch=batch,
        gflops=flops / 1e9,
        throughput=throughput,
        gpu='V100' if table == 2 else 'A100',
        scale=scale,
        exaflops=2 * (1 + BACKWARD) * images * trained / 1e18,
        gpu_hours=hours,
        images_per_second=images / 86400,
        gpus_for_a_day=hours / 24,
        **_communication(cfg),
    )


def _batch(cfg: Config, name: str) -> int:
    if sizes := re.search(r'_(\d+)xb(\d+)', name):
        return int(sizes[1]) * int(sizes[2])
    return cfg.auto_scale_lr.base_batch_size


def _communication(cfg: Config) -> dict[str, int]:
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    positions = {id(p.positions): p.positions for p in iter_dcls_layers(model)}
    return dict(
        gradient_bytes=4 * sum(p.numel() for p in model.parameters()),
        position_bytes=4 * sum(p.numel() for p in positions.values()),
        position_tensors=len(positions),
    )


def sweep_hours() -> dict[str, float]:
    """Derive the GPU hours of Table 5 a model, of the paper's V100 throughputs."""
    images = sum(SWEEP.values())
    return {
        row.model: images / float(row.printed['throughput']) / 3600
        for row in TABLES[2].rows
        if row.model in ('ConvNeXt-dcls-T', 'ConvNeXt-dcls-S', 'ConvNeXt-dcls-B')
    }


def as_dict(costs: list[Cost]) -> dict[str, Any]:
    """Return all numbers, for a JSON file."""
    return dict(
        trainings=[asdict(cost) for cost in costs],
        robustness=dict(images=SWEEP, gpu_hours=sweep_hours()),
    )


def to_markdown(costs: list[Cost], images_per_core: float | None = None) -> str:
    """Make tables of the costs.

    Args:
        costs: What :func:`training_costs` gives.
        images_per_core: How many images of ImageNet a core loads in a second; adds a
            column with the cores that keep up with a training of one day.
    """
    header = [
        *('table', 'model', 'images', 'batch', 'EFLOP', 'images/s, one GPU'),
        *('GPU hours', 'GPUs for one day', 'images/s for one day'),
    ]
    rows = [
        [
            cost.table,
            cost.model,
            f'{cost.images / 1e6:.1f}M',
            cost.batch,
            f'{cost.exaflops:.0f}',
            f'{cost.throughput / cost.scale / (1 + BACKWARD):.1f} ({cost.gpu})',
            f'{cost.gpu_hours:.0f}',
            f'{cost.gpus_for_a_day:.1f}',
            f'{cost.images_per_second:.0f}',
        ]
        for cost in costs
    ]
    if images_per_core:
        header.append('cores to load them')
        for row, cost in zip(rows, costs, strict=True):
            cores = f'{cost.images_per_second / images_per_core:.0f}'
            row.append(cores if 'imagenet' in cost.config else '')
    exchanged = [
        (
            cost.table,
            cost.model,
            f'{cost.gradient_bytes / 1e6:.1f} MB',
            f'{cost.position_bytes / 1e3:.0f} kB',
            cost.position_tensors,
            f'{100 * cost.position_bytes / cost.gradient_bytes:.2f} %',
        )
        for cost in costs
    ]
    sweep = [(model, f'{hours:.1f}') for model, hours in sweep_hours().items()]
    return '\n'.join(
        (
            markdown_table(header, rows),
            markdown_table(
                ('table', 'model', 'gradients', 'of positions', 'tensors', 'share'),
                exchanged,
            ),
            f'{sum(SWEEP.values()):,} images of Table 5:\n',
            markdown_table(('model', 'V100 hours'), sweep),
        )
    )

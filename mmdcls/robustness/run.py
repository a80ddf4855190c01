"""A robustness run: one model, many cells, each kept as soon as it is finished."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel

from mmdcls.analysis.complexity import count_flops
from mmdcls.apis.data_paths import check_data_paths, check_data_root, set_data_root
from mmdcls.apis.launch import build_runner, check_amp_evaluation
from mmdcls.apis.run_outputs import check_outputs
from mmdcls.apis.strategies import leave_out_strategy
from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.configs import building_from, require_parts, scope_of
from mmdcls.datasets.corruptions import SEVERITIES
from mmdcls.engine.cpu_runner import join_processes
from mmdcls.errors import ConfigError
from mmdcls.files import refuse_overwriting, write_json, write_text
from mmdcls.layers import input_channels
from mmdcls.locks import held

from . import classification, downstream, report
from .cells import Cell, CellStore, file_digest, fingerprint, list_cells
from .evaluate import CellRunner
from .plot import plot

TASKS = {
    'mmpretrain': classification,
    'mmseg': downstream,
    'mmdet': downstream,
}
"""The config's ``default_scope`` to the module that knows its benchmarks."""

# Where and how a run happens, not what it computes.
_NOT_FINGERPRINTED = (
    'work_dir',
    'launcher',
    'load_from',
    'resume',
    'env_cfg',
    'log_level',
    'robustness',
)


@dataclass(frozen=True)
class Settings:
    """What a robustness run evaluates, and how.

    Attributes:
        benchmarks: The names of the benchmarks, such as ``'c'``; None stands for all
            that the task has.
        corruptions: Only these; None stands for all.
        severities: Only these, of 1 to 5; None stands for all.
        extra: Whether to evaluate ImageNet-C's extra corruptions, too, which are in no
            average.
        on_the_fly: Corrupt clean images while they are loaded, in place of reading
            ImageNet-C. Segmentation and detection always do.
        allow_missing: Go on without cells whose images are not there.
        batch_size: The batch size, in place of the config's.
        input_size: Side of the crop in pixels, in place of the config's.
        amp: Evaluate in mixed precision.
    """

    benchmarks: Sequence[str] | None = None
    corruptions: Sequence[str] | None = None
    severities: Sequence[int] | None = None
    extra: bool = False
    on_the_fly: bool = False
    allow_missing: bool = False
    batch_size: int | None = None
    input_size: int | None = None
    amp: bool = False


def run(
    cfg: Config,
    checkpoint: str,
    settings: Settings | None = None,
    *,
    data_root: str | None = None,
    out: str | os.PathLike | None = None,
    name: str | None = None,
    compare: Sequence[str] = (),
) -> Path:
    """Evaluate a model on the robustness benchmarks, and report.

    Args:
        cfg: The config, as :func:`mmdcls.apis.launch.load_config` gives it.
        checkpoint: The model's weights.
        settings: The settings of what is evaluated; by default everything.
        data_root: The folder of the data. For classification it is that of all
            benchmarks, otherwise that of the test set, in place of the config's.
        out: The folder of cells and report; by default ``work_dir/robustness``.
        name: The model's name in the report; by default the config's.
        compare: Reports of other models, to put beside this one.

    Returns:
        The report (JSON); a Markdown table and a plot lie beside it.

    Raises:
        ConfigError: If config and settings do not go together, or if images are
            missing and ``allow_missing`` is not set.
        CheckpointError: If the checkpoint does not fit.
        OverwritingError: If the report or the cells would spoil what is read.
        RobustnessError: If a cell has no score.
        InUseError: If another run writes into ``out``.
    """
    settings = settings or Settings()
    require_parts(cfg, 'test')
    if data_root:
        check_data_root(data_root)
    scope = scope_of(cfg)
    if settings.amp:
        check_amp_evaluation(cfg)
    others = [report.read(path) for path in compare]
    key = _fingerprint_run(cfg, checkpoint)
    if TASKS[scope] is downstream:
        if data_root:
            set_data_root(cfg, data_root, splits=('test',))
        check_data_paths(cfg, ('test',))
    cells = _choose_cells(settings, TASKS[scope])
    _join_processes(cfg)
    model = _load_model(cfg, checkpoint)
    channels = input_channels(model)
    if channels != 3 and (settings.on_the_fly or TASKS[scope] is downstream):
        _refuse_corruption(cells, channels)
    flops = None
    if TASKS[scope] is downstream:
        task: Any = downstream.Downstream(cfg)
    else:
        size = settings.input_size or classification.read_input_size(
            classification.read_test_pipeline(cfg)
        )
        outputs = _count_outputs(model, size)
        task = classification.Classification(
            cfg, outputs, data_root, settings.on_the_fly, settings.input_size, channels
        )
        flops = _count_flops(model, size)
    path = Path(out or Path(cfg.work_dir) / 'robustness') / 'robustness.json'
    store = CellStore(path.parent / 'cells')
    inputs = [*filter(None, [cfg.filename]), checkpoint, *compare]
    _check_outputs(cfg, task, cells, [store.folder, *report.files(path)], inputs)
    missing = [cell for cell in cells if task.is_missing(cell)]
    if missing and (not settings.allow_missing or len(missing) == len(cells)):
        raise ConfigError(_describe_missing(missing, len(cells), task))
    runner = CellRunner(model, cfg, task, store, key, settings.batch_size, settings.amp)
    with held(path.parent) if is_main_process() else nullcontext():
        with building_from(cfg):
            results = runner.run([cell for cell in cells if cell not in missing])
        if not is_main_process():
            return path
        facts = dict(
            model=name or Path(cfg.filename or 'model').stem,
            task='classification' if TASKS[scope] is classification else scope,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            flops=flops,
            config=cfg.filename,
            checkpoint=checkpoint,
            fingerprints=key,
            amp=settings.amp,
            on_the_fly=settings.on_the_fly,
            outputs=task.outputs,
        )
        write_report(path, [report.summarize(facts, results, missing), *others])
    return path


def write_report(path: Path, reports: Sequence[dict]) -> None:
    """Write a report with its Markdown table and its plot, named alike.

    Args:
        path: The JSON file.
        reports: The report, as :func:`.report.summarize` gives it, then the reports of
            other models for the table and the plot.
    """
    path, table, picture = report.files(path)
    write_json(path, reports[0])
    write_text(table, report.to_markdown(reports))
    plot(reports, picture)


def _choose_cells(settings: Settings, task) -> list[Cell]:
    """List the cells that the settings ask for.

    Raises:
        ConfigError: If a name is unknown, or if nothing is left.
    """
    benchmarks = list(dict.fromkeys(settings.benchmarks or task.BENCHMARKS))
    unknown = [name for name in benchmarks if name not in task.BENCHMARKS]
    if unknown:
        raise ConfigError(
            f'`benchmarks`: this config has no {unknown[0]!r}, but '
            f'{", ".join(task.BENCHMARKS)}.'
        )
    if settings.extra and 'c' in benchmarks:
        benchmarks.insert(benchmarks.index('c') + 1, 'c_extra')
    corruptions: dict[str, Sequence[str]] = {
        name: list(task.CORRUPTIONS_OF[name]) for name in task.CORRUPTIONS_OF
    }
    if settings.corruptions:
        known = [c for name in benchmarks for c in corruptions.get(name, [])]
        unknown = [name for name in settings.corruptions if name not in known]
        if unknown:
            raise ConfigError(
                f'`corruptions`: {unknown[0]!r} is none of {", ".join(known)}.'
            )
        corruptions = {
            benchmark: [name for name in names if name in settings.corruptions]
            for benchmark, names in corruptions.items()
        }
    severities = sorted(set(settings.severities or SEVERITIES))
    return list_cells(benchmarks, corruptions, severities)


def _check_outputs(
    cfg: Config, task, cells: Sequence[Cell], outputs: Sequence[Path], inputs: list
) -> None:
    if isinstance(task, downstream.Downstream):
        check_outputs(cfg, ('test',), outputs, inputs)
    else:
        refuse_overwriting(outputs, [*inputs, *map(task.folder, cells)])


def _fingerprint_run(cfg: Config, checkpoint: str) -> dict:
    if not Path(checkpoint).is_file():
        raise CheckpointError(f"The checkpoint '{checkpoint}' does not exist.")
    config = {k: v for k, v in cfg.to_dict().items() if k not in _NOT_FINGERPRINTED}
    return dict(checkpoint=file_digest(checkpoint), config=fingerprint(config))


def _join_processes(cfg: Config) -> None:
    """Let the processes of a launcher find each other, on GPUs or on CPUs.

    The model is not wrapped for DDP: there are no gradients to exchange.
    """
    launcher, cfg.launcher = cfg.launcher, 'none'
    if launcher != 'none':
        settings = cfg.get('env_cfg', {}).get('dist_cfg') or dict(backend='nccl')
        join_processes(launcher, settings)


def leave_processes() -> None:
    """Wait for the other processes and part from them, before any of them ends."""
    if is_distributed():
        barrier()
        torch.distributed.destroy_process_group()


def _load_model(cfg: Config, checkpoint: str) -> torch.nn.Module:
    """Build the config's model on its device, with the checkpoint's weights."""
    cfg = copy.deepcopy(cfg)
    cfg.load_from = checkpoint
    cfg.resume = False
    cfg.log_level = 'WARNING'
    # A checkpoint of a training with EMA holds the averaged weights as its state dict;
    # the hook would exchange them.
    cfg.custom_hooks = []
    leave_out_strategy(cfg)
    runner = build_runner(cfg, partial_checkpoint=False)
    runner.load_or_resume()
    return runner.model.eval()


def _count_outputs(model: BaseModel, size: int) -> int:
    """Return the number of scores that a classifier gives."""
    from mmpretrain.structures import DataSample

    batch = dict(
        inputs=[torch.zeros(input_channels(model), size, size, dtype=torch.uint8)],
        data_samples=[DataSample()],
    )
    with torch.no_grad():
        sample = model.test_step(batch)[0]
    if 'pred_score' not in sample:
        raise ConfigError('The model gives no pred_score: it is no classifier.')
    return sample.pred_score.numel()


def _count_flops(model: torch.nn.Module, size: int) -> int | None:
    """Multiply-accumulates of an image; None where an operator cannot be counted."""
    try:
        return count_flops(model, (size, size))
    except RuntimeError as error:  # PyTorch's, of operators that need data.
        print_log(f'FLOPs are not counted: {error}', 'current', logging.WARNING)
        return None


def _refuse_corruption(cells: Sequence[Cell], channels: int) -> None:
    """Refuse, before any work, to corrupt what are no colour images.

    Raises:
        ConfigError: If a cell's images would be corrupted while they are loaded.
    """
    if any(cell.benchmark in ('c', 'c_extra') for cell in cells):
        raise ConfigError(
            f'The model takes images of {channels} channels, and the corruptions of '
            'ImageNet-C are defined for colour images: leave c out of `benchmarks`.'
        )


def _describe_missing(missing: Sequence[Cell], count: int, task) -> str:
    shown = ', '.join(f"{cell} ('{task.folder(cell)}')" for cell in missing[:5])
    more = f', and {len(missing) - 5} more' if len(missing) > 5 else ''
    return (
        f'{len(missing)} of {count} cells have no images: {shown}{more}. '
        '`allow_missing` goes on with the others.'
    )

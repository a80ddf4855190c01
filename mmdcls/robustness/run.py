"""A robustness run: one model, many cells, each kept as soon as it is finished."""

from __future__ import annotations

import argparse
import copy
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import (
    barrier,
    broadcast_object_list,
    is_distributed,
    is_main_process,
)
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.runner import Runner, autocast
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mmdcls.analysis.complexity import count_flops
from mmdcls.apis.data_paths import check_data_paths, check_data_root, set_data_root
from mmdcls.apis.launch import (
    ConfigError,
    build_runner,
    check_amp_evaluation,
    load_config,
)
from mmdcls.apis.run_outputs import check_outputs
from mmdcls.apis.unpickling import refuse_unpickling
from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.datasets.corruptions import SEVERITIES, corruptions_version
from mmdcls.datasets.loading import check_readable, list_files
from mmdcls.engine.cpu_runner import join_processes
from mmdcls.errors import ArgumentError
from mmdcls.files import refuse_overwriting
from mmdcls.layers import input_channels
from mmdcls.registry import TRANSFORMS

from . import classification, downstream
from . import report as report
from .cells import Cell, CellStore, ImageFiles, file_digest, fingerprint, list_cells

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


def run(args: argparse.Namespace) -> Path:
    """Evaluate what the command line of ``tools/robustness.py`` asks for.

    Args:
        args: The arguments of ``tools/robustness.py``.

    Returns:
        The report (JSON); a Markdown table and a plot lie beside it.

    Raises:
        ConfigError: If config and arguments do not go together, or if images are
            missing and ``args.allow_missing`` is not set.
        CheckpointError: If the checkpoint does not fit.
        OverwritingError: If the report or the cells would spoil what is read.
    """
    data_root, args.data_root = args.data_root, None
    if data_root:
        check_data_root(data_root)
    cfg = load_config(args)
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        raise ConfigError(
            f'default_scope={scope!r} of the config must be one of {", ".join(TASKS)}.'
        )
    if args.amp:
        check_amp_evaluation(cfg)
    refuse_unpickling(cfg, ('test',), args.allow_pickle)
    others = [report.read(path) for path in args.compare]
    key = _fingerprint_run(cfg, args)
    if TASKS[scope] is downstream:
        if data_root:
            set_data_root(cfg, data_root, splits=('test',))
        check_data_paths(cfg, ('test',))
    cells = _choose_cells(args, TASKS[scope])
    _join_processes(cfg)
    model = _load_model(cfg, args.checkpoint)
    channels = input_channels(model)
    if channels != 3 and (args.on_the_fly or TASKS[scope] is downstream):
        _refuse_corruption(cells, channels)
    flops = None
    if TASKS[scope] is downstream:
        task = downstream.Downstream(cfg)
    else:
        size = args.input_size or classification.read_input_size(
            classification.read_test_pipeline(cfg)
        )
        outputs = _count_outputs(model, size)
        task = classification.Classification(
            cfg, outputs, data_root, args.on_the_fly, args.input_size, channels
        )
        flops = _count_flops(model, size)
    path = Path(args.out or Path(cfg.work_dir) / 'robustness') / 'robustness.json'
    store = CellStore(path.parent / 'cells')
    _check_outputs(cfg, args, task, cells, [store.folder, *report.files(path)])
    missing = [cell for cell in cells if task.is_missing(cell)]
    if missing and (not args.allow_missing or len(missing) == len(cells)):
        raise ConfigError(_describe_missing(missing, len(cells), task))
    runner = CellRunner(model, cfg, task, store, key, args)
    results = runner.run([cell for cell in cells if cell not in missing])
    if is_main_process():
        facts = dict(
            model=args.name or Path(args.config).stem,
            task='classification' if TASKS[scope] is classification else scope,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            flops=flops,
            config=args.config,
            checkpoint=args.checkpoint,
            fingerprints=key,
            amp=args.amp,
            on_the_fly=args.on_the_fly,
            outputs=task.outputs,
        )
        report.write(path, report.summarize(facts, results, missing), others)
    return path


class CellRunner:
    """Evaluates cells, or takes them from disk where they are finished.

    Args:
        model: In evaluation mode.
        cfg: Gives the data loader's settings.
        task: Gives the data set and metrics of a cell.
        store: Where finished cells are.
        key: Fingerprints of checkpoint and config.
        args: ``amp``, ``batch_size`` and ``on_the_fly``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        cfg: Config,
        task: classification.Classification | downstream.Downstream,
        store: CellStore,
        key: dict,
        args: argparse.Namespace,
    ) -> None:
        self.model = model
        self.cfg = cfg
        self.task = task
        self.store = store
        self.key = key
        self.args = args
        self._images: ImageFiles | None = None
        self._readable: set[str] = set()

    def run(self, cells: Sequence[Cell]) -> dict[Cell, dict]:
        """Evaluate cells in order; every process gets to know every result."""
        results = {}
        with _progress(len(cells)) as advance:
            for cell in cells:
                results[cell] = self._finish(cell)
                advance(cell)
        return results

    def _finish(self, cell: Cell) -> dict:
        config = self.task.dataset(cell)
        dataset = DATASETS.build(copy.deepcopy(config))
        dataset.full_init()
        key = {**self.key, 'protocol': self._fingerprint_protocol(config)}
        kept = [None]
        if is_main_process():
            images = self._image_files(dataset)
            kept = [self.store.load(cell, key, images)]
        broadcast_object_list(kept)
        if kept[0] is not None:
            return kept[0]
        self._check_channels(dataset)
        if is_main_process():
            self._check_readable(images)
            # What is evaluated below must be what the fingerprint was taken of.
            images.content()
            before = images.state()
        evaluator = Evaluator(self.task.metrics())
        evaluator.dataset_meta = dataset.metainfo
        result = [self._evaluate(dataset, evaluator)]
        if is_main_process():
            if images.state() != before:
                raise ArgumentError(
                    f"Files below '{images.root}' changed while {cell} was evaluated; "
                    'run again.'
                )
            result = [_read_result(evaluator, result[0], images.root, cell)]
            if empty := getattr(dataset, 'empty_classes', None):
                result[0]['empty_classes'] = len(empty)
            self.store.save(cell, key, images, result[0])
        broadcast_object_list(result)
        return result[0]

    def _evaluate(self, dataset, evaluator: Evaluator) -> dict:
        loader = self.cfg.get('test_dataloader') or self.cfg.val_dataloader
        settings = {
            name: copy.deepcopy(loader[name])
            for name in ('num_workers', 'collate_fn', 'pin_memory')
            if name in loader
        }
        dataloader = Runner.build_dataloader(
            dict(
                batch_size=self.args.batch_size or loader.get('batch_size', 1),
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
                **settings,
            )
        )
        with torch.no_grad(), autocast(enabled=self.args.amp):
            for batch in dataloader:
                outputs = self.model.test_step(batch)
                evaluator.process(data_samples=outputs, data_batch=batch)
        return evaluator.evaluate(len(dataset))

    def _fingerprint_protocol(self, config: dict) -> str:
        """Everything that a cell's numbers depend on besides images and weights."""
        pipeline = config.get('pipeline') or []
        made_here = any(step['type'] == 'mmdcls.Corrupt' for step in pipeline)
        return fingerprint(
            dict(
                dataset=config['type'],
                pipeline=pipeline,
                classes=config.get('wordnet_ids'),
                amp=str(torch.get_autocast_dtype(get_device()))
                if self.args.amp
                else None,
                corruptions=corruptions_version() if made_here else None,
            )
        )

    def _image_files(self, dataset) -> ImageFiles:
        """The files of a data set; the same object while they are the same files."""
        images = ImageFiles(list_files(dataset))
        if self._images is None or self._images.paths != images.paths:
            self._images = images
        return self._images

    def _check_channels(self, dataset) -> None:
        """Try one image: it must reach a classifier with the channels that it takes."""
        if isinstance(self.task, downstream.Downstream):
            return
        found, wanted = len(dataset[0]['inputs']), input_channels(self.model)
        if found != wanted:
            path = dataset.get_data_info(0)['img_path']
            raise ConfigError(
                f"The config's test pipeline loads '{path}' with {found} channels, and "
                f'the model takes {wanted}.'
            )

    def _check_readable(self, images: ImageFiles) -> None:
        """Detectors and segmentors have no way to leave an image out: refuse it."""
        if isinstance(self.task, downstream.Downstream):
            content = images.content()
            if content not in self._readable:
                check_readable(images.paths, TRANSFORMS.build(self.task.loading()))
                self._readable.add(content)


def _read_result(evaluator: Evaluator, metrics: dict, root: str, cell: Cell) -> dict:
    """Keep a cell's scores and unreadable images, as JSON can hold them."""
    result = {}
    for name, value in metrics.items():
        value = value.item() if hasattr(value, 'item') else value
        if isinstance(value, (int, float)):
            result[name.removeprefix('accuracy/')] = value
    unreadable = getattr(evaluator.metrics[0], 'unreadable_images', None)
    if unreadable is not None:
        result['unreadable'] = [
            [os.path.relpath(path, root), reason.replace(root, '')]
            for path, reason in unreadable
        ]
    scores = [value for value in result.values() if isinstance(value, float)]
    if not result and cell.corruption:
        return result  # mmdet reports nothing where nothing is detected.
    if not scores or not all(math.isfinite(score) for score in scores):
        raise ArgumentError(f'{cell} has no finite score ({result}).')
    return result


def _choose_cells(args: argparse.Namespace, task) -> list[Cell]:
    """List the cells that the arguments ask for.

    Raises:
        ConfigError: If a name is unknown, or if nothing is left.
    """
    benchmarks = list(dict.fromkeys(args.benchmarks or task.BENCHMARKS))
    unknown = [name for name in benchmarks if name not in task.BENCHMARKS]
    if unknown:
        raise ConfigError(
            f'--benchmarks: this config has no {unknown[0]!r}, but '
            f'{", ".join(task.BENCHMARKS)}.'
        )
    if args.extra and 'c' in benchmarks:
        benchmarks.insert(benchmarks.index('c') + 1, 'c_extra')
    corruptions = {
        name: list(task.CORRUPTIONS_OF[name]) for name in task.CORRUPTIONS_OF
    }
    if args.corruptions:
        known = sum((corruptions.get(name, []) for name in benchmarks), [])
        unknown = [name for name in args.corruptions if name not in known]
        if unknown:
            raise ConfigError(
                f'--corruptions: {unknown[0]!r} is none of {", ".join(known)}.'
            )
        corruptions = {
            benchmark: [name for name in names if name in args.corruptions]
            for benchmark, names in corruptions.items()
        }
    severities = sorted(set(args.severities or SEVERITIES))
    return list_cells(benchmarks, corruptions, severities)


def _check_outputs(cfg: Config, args, task, cells, outputs: Sequence[Path]) -> None:
    inputs = [args.config, args.checkpoint, *args.compare]
    if isinstance(task, downstream.Downstream):
        check_outputs(cfg, ('test',), outputs, inputs)
    else:
        refuse_overwriting(outputs, [*inputs, *map(task.folder, cells)])


def _fingerprint_run(cfg: Config, args: argparse.Namespace) -> dict:
    if not Path(args.checkpoint).is_file():
        raise CheckpointError(f"The checkpoint '{args.checkpoint}' does not exist.")
    config = {k: v for k, v in cfg.to_dict().items() if k not in _NOT_FINGERPRINTED}
    return dict(checkpoint=file_digest(args.checkpoint), config=fingerprint(config))


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
    runner = build_runner(cfg, partial_checkpoint=False)
    runner.load_or_resume()
    return runner.model.eval()


def _count_outputs(model: torch.nn.Module, size: int) -> int:
    """Number of scores that a classifier gives."""
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
            'ImageNet-C are defined for colour images: leave c out of --benchmarks.'
        )


def _describe_missing(missing: Sequence[Cell], count: int, task) -> str:
    shown = ', '.join(f"{cell} ('{task.folder(cell)}')" for cell in missing[:5])
    more = f', and {len(missing) - 5} more' if len(missing) > 5 else ''
    return (
        f'{len(missing)} of {count} cells have no images: {shown}{more}. '
        '--allow-missing goes on with the others.'
    )


@contextmanager
def _progress(total: int) -> Iterator:
    columns = (TextColumn('{task.description:32}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, disable=not is_main_process()) as bar:
        task = bar.add_task('cells', total=total)
        yield lambda cell: bar.update(task, advance=1, description=str(cell))

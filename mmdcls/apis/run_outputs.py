"""Keep what a training or a test writes beside its inputs, never over them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmdcls.errors import ConfigError
from mmdcls.files import OverwritingError, put_in_place, refuse_overwriting
from mmdcls.locks import held

from .data_paths import iter_datasets

_CHECKPOINT_OF_A_TRAINING = re.compile(r'(epoch|iter)_\d+\.pth|best_.+\.pth')


def check_outputs(
    cfg: Config,
    splits: Iterable[str],
    outputs: Iterable[str | os.PathLike | None],
    inputs: Iterable[str | os.PathLike] = (),
) -> None:
    """Refuse outputs of a run that would spoil its inputs.

    Args:
        cfg: The config of the run.
        splits: The splits whose data sets are read.
        outputs: Files and folders that the user named to write to; None is skipped.
        inputs: Files that are read besides the data.

    Raises:
        OverwritingError: If an output would spoil an input; the sentence names both.
    """
    inputs = [*inputs, *_data_paths(cfg, splits)]
    refuse_overwriting(filter(None, outputs), inputs)


def _data_paths(cfg: Config, splits: Iterable[str]) -> Iterator[Path]:
    """Yield the folders and annotation files that the config's data sets read."""
    for split in splits:
        for _, dataset in iter_datasets(cfg, split):
            root = dataset.get('data_root') or ''
            prefix = dataset.get('data_prefix') or ''
            prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
            for name in (*prefixes, dataset.get('ann_file')):
                path = Path(root, name or '')
                # None of these is the working directory: it is a data set without any.
                if path != Path():
                    yield path


def check_start(cfg: Config) -> None:
    """Refuse to start from a checkpoint that the training would write over.

    A training that is resumed goes on in its folder; another one that begins there
    would give its checkpoints the names of those that lie there.

    Raises:
        OverwritingError: If ``load_from`` or a ``checkpoint`` of an ``init_cfg`` lies
            in ``work_dir`` and is called as mmengine calls the checkpoints there.
    """
    if cfg.get('resume'):
        return
    for checkpoint in filter(None, (cfg.get('load_from'), *_pretrained(cfg.model))):
        path = Path(checkpoint)
        in_the_way = Path(cfg.work_dir, path.name)
        if (
            _CHECKPOINT_OF_A_TRAINING.fullmatch(path.name)
            and in_the_way.is_file()
            and path.is_file()
            and in_the_way.samefile(path)
        ):
            raise OverwritingError(
                f"The training starts from '{checkpoint}' and would write over it in "
                f"'{cfg.work_dir}'; name another `work_dir`, or go on with `resume`."
            )


@contextmanager
def held_work_dir(cfg: Config) -> Iterator[None]:
    """Keep other trainings out of ``work_dir``, for the first process of a launcher.

    Raises:
        InUseError: If another training goes on there.
    """
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    told = [os.environ[name] for name in ranks if os.environ.get(name)]
    if cfg.get('launcher', 'none') != 'none' and told and told[0] != '0':
        yield
        return
    with held(cfg.work_dir):
        yield


def _pretrained(model: object) -> Iterator[str]:
    """Yield the checkpoint files that a model's ``init_cfg`` name."""
    if isinstance(model, dict):
        init_cfg = model.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg.get('checkpoint'):
            yield init_cfg['checkpoint']
        model = list(model.values())
    if isinstance(model, (list, tuple)):
        for value in model:
            yield from _pretrained(value)


@contextmanager
def written_predictions(cfg: Config, out: str | None) -> Iterator[None]:
    """Have the test inside write its predictions, which appear when all are there.

    Args:
        cfg: The config, changed in place.
        out: ``*.pkl`` for all predictions in one file; in segmentation also a folder,
            for one label image each; None for nothing.

    Raises:
        ConfigError: If ``out`` is none of these.
    """
    if out is None:
        yield
        return
    file = Path(out)
    # The same name in every process: each writes the label images of its share.
    building = file.with_name(f'.{file.name}.tmp')
    shutil.rmtree(building, ignore_errors=True)
    _write_predictions(cfg, file, building / file.name)
    try:
        yield
        if is_main_process():
            for path in [path for path in building.rglob('*') if path.is_file()]:
                target = file.parent / path.relative_to(building)
                target.parent.mkdir(exist_ok=True)
                put_in_place(path, target)
            print_log(f'The predictions are in {out}.', 'current')
    finally:
        if is_main_process():
            shutil.rmtree(building, ignore_errors=True)


def _write_predictions(cfg: Config, out: Path, temporary: Path) -> None:
    metrics = cfg.test_evaluator
    metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    scope = cfg.get('default_scope')
    if out.suffix in ('.pkl', '.pickle'):
        dump = 'mmdet.DumpDetResults' if scope == 'mmdet' else 'DumpResults'
        metrics.append(dict(type=dump, out_file_path=str(temporary)))
    elif scope == 'mmseg' and not out.suffix:
        metrics[0].update(output_dir=str(temporary), keep_results=True)
    else:
        raise ConfigError(
            f"`out`='{out}' must end in .pkl (or be a folder, in segmentation)."
        )
    cfg.test_evaluator = metrics

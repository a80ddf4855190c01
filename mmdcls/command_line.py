"""The flags that tools/train.py, tools/test.py and others have in common.

Kept free of torch, so that ``--device cpu`` can hide the GPUs before torch looks for
them.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import DictAction

PACKAGE = Path(__file__).resolve().parent


def parse_arguments(
    parser: argparse.ArgumentParser, argv: list[str] | None = None
) -> argparse.Namespace:
    """Add mmengine's usual flags to ``parser``, parse, and hide the GPUs if asked.

    Must run before torch is imported.

    Args:
        parser: Has the arguments of one tool.
        argv: The command line without the program's name; defaults to the process's.
    """
    parser.add_argument('--work-dir', help='where logs, checkpoints and scores go')
    parser.add_argument(
        '--data-root', help="the data set's folder, in place of the config's"
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (training: on a GPU only)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='settings of the config to override, as key=value',
    )
    parser.add_argument(
        '--allow-pickle',
        action='store_true',
        help='read pickled or YAML annotations, which can run code, if yours',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu'], default='auto', help='cpu hides the GPUs'
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    return args


def add_conversion_arguments(parser: argparse.ArgumentParser, config: str) -> None:
    """Add the arguments of the converters between the authors' checkpoints and ours.

    Args:
        parser: Has the arguments that only one of them takes.
        config: What ``--config`` is for.
    """
    parser.add_argument('src', help='the file to read (.pth or .safetensors)')
    parser.add_argument('dst', help='the file to write (.pth)')
    parser.add_argument(
        '--task',
        choices=['cls', 'seg', 'det'],
        help='refuse a file for another task; by default the file tells',
    )
    parser.add_argument('--config', help=config)
    parser.add_argument(
        '--no-share',
        action='store_true',
        help='accept positions that differ within a stage',
    )
    parser.add_argument(
        '--columns-first',
        action='store_true',
        help="the authors' side is of dcls 0.0.1 to 0.0.5 (November 2022 to October "
        '2023), whose positions have columns first',
    )


def convert_file(source: str, target: str, convert: Callable[[], object]) -> None:
    """Convert a checkpoint, or end in one sentence and write nothing.

    Args:
        source: The file to read.
        target: The file to write.
        convert: Reads ``source``; what it gives is printed (``print_summary()``),
            checked (``check()``) and written (``content``).
    """
    from .converters import check_destination, write_checkpoint

    with one_sentence_errors():
        check_destination(source, target)
        result = convert()
        result.print_summary()
        result.check()
        write_checkpoint(result.content, target)
        print(f'Written: {target}')


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """End the program with one sentence where mmdcls refuses what the user asked for.

    An error that mmdcls raised itself (also one that mmengine's registry wrapped) names
    what is wrong, so its sentence is printed and the exit code is 1. Any other error
    keeps its traceback, and so do all when ``MMDCLS_TRACEBACK`` is set.
    """
    try:
        yield
    except Exception as error:
        own = _raised_by_mmdcls(error)
        if own is None or os.environ.get('MMDCLS_TRACEBACK'):
            raise
        sys.exit(f'error: {" ".join(str(own).split())}')


def _raised_by_mmdcls(error: BaseException | None) -> BaseException | None:
    """The latest error of the chain whose innermost frame is a file of mmdcls."""
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if frames and PACKAGE in Path(frames[-1].filename).resolve().parents:
            return error
        error = error.__cause__ or error.__context__
    return None

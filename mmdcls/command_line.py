"""Parse the command lines of all tools, and end them in one sentence on an error.

Kept free of torch, so that ``--device cpu`` can hide the GPUs before torch looks for
them, and of what is not installed with mmdcls until it is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .sentences import find_sentence

REPORT = (
    'error: nobody foresaw this. If it is a fault of mmdcls, please report it with all '
    'of the above, the command, and what this prints: python -c "from '
    'mmengine.utils.dl_utils import collect_env; print(collect_env())"'
)
"""The last line of a tool that ends in a bug."""


class ArgumentParser(argparse.ArgumentParser):
    """The parser of a tool: its help ends in an example, and it knows ``--debug``.

    Args:
        description: A sentence on what the tool does.
        example: Arguments that the tool may be called with.
        **kwargs: Further arguments of :class:`argparse.ArgumentParser`.
    """

    def __init__(self, description: str, example: str, **kwargs: Any) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )
        path = os.path.relpath(sys.argv[0]) if kwargs.get('prog') is None else None
        command = f'python {path}' if path else self.prog
        self.epilog = f'example:\n  {command} {example}'
        self.add_argument(
            '--debug',
            action='store_true',
            help='show the traceback of an error that is told in one sentence',
        )
        self.debug = False

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse as argparse does, and remember whether ``--debug`` was given."""
        parsed = super().parse_args(args, namespace)
        self.debug = parsed.debug
        return parsed

    @contextmanager
    def one_sentence_errors(self) -> Iterator[None]:
        """End the program with one sentence where the user can mend what is wrong.

        These are the errors of the kind :class:`MmdclsError`, also where mmengine's
        registries wrapped them, and what :func:`.sentences.find_sentence` knows:
        packages that are missing, files that the system does not let be read or
        written, memory that is full. The exit code is 1. Any other error is a bug: it
        shows its traceback, and how to report it.

        Ctrl-C and SIGTERM end the program without a traceback, after what is at hand
        was put in order, with the exit codes 130 and 143.
        """
        try:
            with _terminable():
                yield
        except KeyboardInterrupt:
            print('Interrupted.', file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            sentence = find_sentence(error)
            if sentence is None or self.debug:
                traceback.print_exc()
            if sentence is None:
                sys.exit(REPORT)
            sys.exit(f'error: {self._in_flags(" ".join(sentence.split()))}')

    def _in_flags(self, sentence: str) -> str:
        """Replace parameters, which the package names in backquotes, by their flags."""
        flags = {
            option.lstrip('-').replace('-', '_'): option
            for action in self._actions
            for option in action.option_strings
        }
        return re.sub(r'`(\w+)`', lambda name: flags.get(name[1], name[1]), sentence)


def whole_number(at_least: int) -> Callable[[str], int]:
    """Return what ``type`` of an argument is to be, for whole numbers from one on.

    Example:
        >>> whole_number(at_least=1)('3')
        3
    """

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = at_least - 1
        if number < at_least:
            raise argparse.ArgumentTypeError(
                f'must be a whole number of at least {at_least}, got {text!r}'
            )
        return number

    return convert


def number_within(lowest: float, highest: float) -> Callable[[str], float]:
    """Return what ``type`` of an argument is to be, for numbers within a range.

    Example:
        >>> number_within(0, 1)('0.3')
        0.3
    """

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float('nan')
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(
                f'must be a number from {lowest} to {highest}, got {text!r}'
            )
        return number

    return convert


@contextmanager
def _terminable() -> Iterator[None]:
    """Leave the block as by ``sys.exit(143)`` where the process is sent SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != process:  # A process that was forked off.
            os._exit(128 + number)
        print('Terminated.', file=sys.stderr)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


CONFIG_FLAGS: dict[str, dict] = {
    '--work-dir': dict(help='where logs, checkpoints and scores go'),
    '--data-root': dict(help="the data set's folder, in place of the config's"),
    '--amp': dict(
        action='store_true', help='mixed precision (training: on a GPU only)'
    ),
    '--allow-pickle': dict(
        action='store_true',
        help='read pickled or YAML annotations, which can run code, if yours',
    ),
    '--launcher': dict(
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    ),
}
"""mmengine's usual flags, for the tools in which they have an effect."""


def parse_arguments(
    parser: ArgumentParser,
    flags: Collection[str] = tuple(CONFIG_FLAGS),
    argv: list[str] | None = None,
) -> argparse.Namespace:
    """Add the flags of tools that read a config, parse, and hide the GPUs if asked.

    Must run before torch is imported.

    Args:
        parser: The parser of a tool, which has the arguments of that tool alone.
        flags: The flags of :data:`CONFIG_FLAGS` that have an effect in the tool. Every
            tool gets ``--cfg-options`` and ``--device``.
        argv: The command line without the program's name; defaults to the process's.
    """
    with parser.one_sentence_errors():
        add_cfg_options(parser)
    for flag in flags:
        parser.add_argument(flag, **CONFIG_FLAGS[flag])
    add_device(parser)
    if '--launcher' in flags:
        parser.add_argument('--local-rank', '--local_rank', type=int, default=0)
    args = parser.parse_args(argv)
    if '--launcher' in flags:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    hide_gpus(args.device)
    return args


def config_settings(args: argparse.Namespace) -> dict:
    """Choose from the parsed arguments those that ``load_config`` takes."""
    names = ('work_dir', 'data_root', 'cfg_options', 'launcher')
    return {name: getattr(args, name) for name in names if name in args}


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add mmengine's ``--cfg-options``."""
    from mmengine.config import DictAction

    class Settings(DictAction):
        """mmengine's action, which ends in a sentence where a setting is none."""

        def __call__(self, parser, namespace, values, option_string=None):
            for value in values:
                if not value.partition('=')[0] or '=' not in value:
                    parser.error(f'--cfg-options: {value!r} is not key=value')
            try:
                super().__call__(parser, namespace, values, option_string)
            except (AssertionError, ValueError) as error:
                parser.error(f'--cfg-options: {error}')

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        default={},
        help='settings of the config to override, as key=value',
    )


def add_device(parser: ArgumentParser) -> None:
    """Add ``--device``, for :func:`hide_gpus`."""
    parser.add_argument(
        '--device', choices=['auto', 'cpu'], default='auto', help='cpu hides the GPUs'
    )


def hide_gpus(device: str) -> None:
    """Hide the GPUs from a torch that is yet to be imported, for ``device='cpu'``."""
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def add_conversion_arguments(parser: ArgumentParser, config: str) -> None:
    """Add the arguments of the converters between the authors' checkpoints and ours.

    Args:
        parser: The parser of one of them.
        config: The help text of ``--config``, which differs between them.
    """
    parser.add_argument(
        'src',
        help='the file to read (.pth or .safetensors), or its address (https://…)',
    )
    parser.add_argument('dst', help='the file to write (.pth or .safetensors)')
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


def convert_file(
    parser: ArgumentParser, source: str, target: str, convert: Callable[[], Any]
) -> None:
    """Convert a checkpoint, or end in one sentence and write nothing.

    Args:
        parser: The parser that read the command line.
        source: The file to read.
        target: The file to write.
        convert: Function that reads ``source``. What it returns has the methods
            ``print_summary()`` and ``check()``, and the ``content`` to write.
    """
    with parser.one_sentence_errors():
        from mmdcls.converters import check_destination, write_checkpoint

        check_destination(source, target)
        result = convert()
        result.print_summary()
        result.check()
        write_checkpoint(result.content, target)
        print(f'Written: {target}')

"""Train two steps by DDP, FSDP, DeepSpeed and every technique, and compare the weights.

Everything runs on the CPU of this machine, in one process or two, on a small model. The
rows of what is not installed say so.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdcls.command_line import ArgumentParser


def main() -> None:
    """Run the comparison that the command line asks for."""
    parser = ArgumentParser(__doc__, '--out engines.json')
    parser.add_argument('--select', default='', help='only engines with this in a name')
    parser.add_argument('--out', help='also write the table to this JSON file')
    args = parser.parse_args()

    # Also on a machine with GPUs: before torch looks for them.
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    start = time.perf_counter()
    with parser.one_sentence_errors():
        with output_to_stderr(), tempfile.TemporaryDirectory() as folder:
            import torch

            from mmdcls.analysis.engine_comparison import compare_engines, to_markdown
            from mmdcls.analysis.engine_runs import ENGINES
            from mmdcls.errors import ArgumentError
            from mmdcls.files import markdown_facts, write_json
            from mmdcls.ops.benchmark.timing import describe_device

            engines = [engine for engine in ENGINES if args.select in engine.name]
            if not engines:
                names = ', '.join(engine.name for engine in ENGINES)
                raise ArgumentError(
                    f'`select`={args.select!r} is in the name of no engine; there are '
                    f'{names}.'
                )
            rows = compare_engines(Path(folder), engines)
        facts = {
            **describe_device(torch.device('cpu')),
            'minutes': round((time.perf_counter() - start) / 60, 1),
        }
        print(f'{markdown_facts(facts)}\n{to_markdown(rows)}')
        if args.out:
            write_json(args.out, dict(facts, engines=rows))
    if not all(row['equal'] for row in rows):
        sys.exit('error: weights differ by more than the last column allows.')


@contextmanager
def output_to_stderr() -> Iterator[None]:
    """Keep what engines print, in all processes, out of the report."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == '__main__':
    main()

"""Compare depthwise convolutions on scanned digits, at an equal number of parameters.

Trains small networks with standard, dilated, DCLS and dense large kernels, several
times each, on digits at random places and scales of a larger canvas, and prints the
accuracies as they come out.
"""

import dataclasses
import sys
import time

from mmdcls.command_line import ArgumentParser, whole_number


def main() -> None:
    """Run the comparison that the command line asks for."""
    parser = ArgumentParser(__doc__, '--seeds 3 --out accuracies.json')
    with parser.one_sentence_errors():
        import torch

        from mmdcls.analysis.convolution_comparison import Settings, compare
        from mmdcls.analysis.reports import silence_mmengine
        from mmdcls.files import markdown_facts, write_json
        from mmdcls.ops.benchmark.timing import describe_device

    defaults = Settings()
    parser.add_argument(
        '--seeds', type=whole_number(1), default=5, help='runs of each; default: 5'
    )
    for name in ('steps', 'batch_size', 'width', 'canvas'):
        value = getattr(defaults, name)
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=whole_number(1),
            default=value,
            help=f'default: {value}',
        )
    parser.add_argument('--out', help='also write every run to this JSON file')
    args = parser.parse_args()

    silence_mmengine()
    settings = dataclasses.replace(
        defaults,
        steps=args.steps,
        batch_size=args.batch_size,
        width=args.width,
        canvas=args.canvas,
    )
    start = time.perf_counter()
    with parser.one_sentence_errors():
        results = compare(
            settings, args.seeds, lambda line: print(line, file=sys.stderr, flush=True)
        )
        facts = {
            **dataclasses.asdict(settings),
            'seeds': args.seeds,
            **describe_device(torch.device('cpu')),
            'minutes': round((time.perf_counter() - start) / 60, 1),
        }
        print(f'{markdown_facts(facts)}\n{to_markdown(results)}')
        if args.out:
            write_json(args.out, dict(facts, results=results))


def to_markdown(results: list[dict]) -> str:
    """The results as a table."""
    from mmdcls.files import markdown_table

    header = ('convolution', 'kernel', 'channels', 'parameters', 'accuracy, %', 'std')
    rows = [
        (
            result['name'],
            result['kernel'],
            result['width'],
            result['parameters'],
            f'{result["mean"]:.1f}',
            '' if result['std'] is None else f'{result["std"]:.1f}',
        )
        for result in results
    ]
    return markdown_table(header, rows)


if __name__ == '__main__':
    main()

"""Time two configs against each other: images per second, for inference and training.

The two take turns in one run, so that a busy machine slows both; compare the ratio.
Weights, images and targets are random. ``--amp`` is float16 on a GPU and bfloat16 on a
CPU. With ``--deploy``, time the inference of one config before and after folding.
"""

import statistics
from importlib.metadata import version
from pathlib import Path

from mmdcls.command_line import (
    ArgumentParser,
    config_settings,
    parse_arguments,
    whole_number,
)


def main() -> None:
    """Time what the command line asks for."""
    parser = ArgumentParser(
        __doc__, 'CONFIG PLAIN_CONFIG --batch-size 4 --out times.json'
    )
    parser.add_argument('first', help='a config of mmpretrain, mmseg or mmdet')
    parser.add_argument(
        'second', nargs='?', help='the config to compare it with, without --deploy'
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='compare what tools/deployment exports of the config, as trained and '
        'folded',
    )
    parser.add_argument(
        '--onnx', action='store_true', help='with --deploy: ONNX Runtime too, on a CPU'
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=['inference', 'training'],
        help='default: both, and inference alone for detection',
    )
    parser.add_argument(
        '--batch-size', type=whole_number(1), default=8, help='default: 8'
    )
    parser.add_argument(
        '--shape',
        type=whole_number(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="the image's size; defaults to the paper's for the task",
    )
    parser.add_argument(
        '--rounds', type=whole_number(1), default=11, help='default: 11'
    )
    parser.add_argument(
        '--iterations',
        type=whole_number(1),
        default=3,
        help='batches in a turn; default: 3',
    )
    parser.add_argument('--compile', action='store_true', help='use torch.compile')
    parser.add_argument(
        '--channels-last', action='store_true', help='memory format of the images'
    )
    parser.add_argument('--out', help='also write every round to this JSON file')
    args = parse_arguments(parser, flags=('--amp',))
    if args.deploy == (args.second is not None):
        parser.error('name a second config or --deploy, one of the two')
    if args.onnx and not args.deploy:
        parser.error('--onnx goes with --deploy')
    if args.deploy and args.modes not in (None, ['inference']):
        parser.error('--deploy times inference only')

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        import torch

        from mmdcls.analysis.deployment_throughput import compare_deployed
        from mmdcls.analysis.reports import silence_mmengine
        from mmdcls.analysis.throughput import Contender, Settings
        from mmdcls.apis.launch import load_config
        from mmdcls.files import refuse_overwriting, write_json
        from mmdcls.ops.benchmark.timing import describe_device

        silence_mmengine()
        configs = [config for config in (args.first, args.second) if config]
        refuse_overwriting([args.out] if args.out else [], configs)
        settings = Settings(
            batch_size=args.batch_size,
            shape=args.shape,
            device='cuda' if torch.cuda.is_available() else 'cpu',
            amp=args.amp,
            channels_last=args.channels_last,
            compile=args.compile,
        )
        torch.manual_seed(0)
        contenders = [
            Contender(
                load_config(**{**config_settings(args), 'config': config}), settings
            )
            for config in configs
        ]
        if args.deploy:
            comparisons = compare_deployed(
                *contenders, args.rounds, args.iterations, args.onnx
            )
            second = 'the same, as the row says'
            versions = {'onnxruntime': version('onnxruntime')} if args.onnx else {}
        else:
            comparisons = compare_two(
                contenders, args.modes, args.rounds, args.iterations
            )
            second, versions = Path(args.second).stem, {}
        facts = {
            'first': Path(args.first).stem,
            'second': second,
            **describe_device(torch.device(settings.device)),
            'batch size': settings.batch_size,
            'image': ', '.join(
                sorted({'{} x {}'.format(*contender.shape) for contender in contenders})
            ),
            'amp': settings.amp,
            'channels_last': settings.channels_last,
            'compile': settings.compile,
            **versions,
            'rounds': f'{args.rounds} of {args.iterations} batches each',
        }
        print(to_markdown(facts, comparisons))
        if args.out:
            write_json(args.out, to_json(facts, comparisons))


def compare_two(
    contenders: list, modes: list[str] | None, rounds: int, iterations: int
) -> list:
    """Time two contenders in every mode asked for."""
    from mmdcls.analysis.throughput import MODES, compare

    detects = any(contender.scope == 'mmdet' for contender in contenders)
    return [
        compare(
            *(contender.prepare(mode) for contender in contenders),
            mode,
            contenders[0].settings,
            rounds,
            iterations,
        )
        for mode in modes or (MODES[:1] if detects else MODES)
    ]


def to_markdown(facts: dict, comparisons: list) -> str:
    """The report as a list of facts and a table."""
    from mmdcls.files import markdown_facts, markdown_table

    rows = [
        (
            comparison.mode,
            *(f'{median:.2f}' for median in comparison.medians),
            f'{comparison.ratio:.3f}',
            '{:.3f} to {:.3f}'.format(*comparison.quartiles),
        )
        for comparison in comparisons
    ]
    header = ('', 'first, images/s', 'second, images/s', 'second / first', 'quartiles')
    return f'{markdown_facts(facts)}\n{markdown_table(header, rows)}'


def to_json(facts: dict, comparisons: list) -> dict:
    """The report with every round; ``images_per_second`` is that of inference."""
    contenders = []
    for which in ('first', 'second'):
        contender = dict(config=facts[which], rounds={})
        for comparison in comparisons:
            rates = getattr(comparison, which)
            prefix = '' if comparison.mode == 'inference' else f'{comparison.mode}_'
            contender[f'{prefix}images_per_second'] = statistics.median(rates)
            contender['rounds'][comparison.mode] = rates
        contenders.append(contender)
    ratios = {
        comparison.mode: dict(ratio=comparison.ratio, quartiles=comparison.quartiles)
        for comparison in comparisons
    }
    return dict(facts, contenders=contenders, ratios=ratios)


if __name__ == '__main__':
    main()

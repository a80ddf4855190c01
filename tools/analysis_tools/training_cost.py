"""Derive what the paper's trainings cost in GPU hours, from its tables and our counts.

Nothing is trained: a training step is taken for three passes of the paper's inference
throughput. Communication is counted from the models. With --measure-loading the images
that a core of this machine loads are measured.
"""

from pathlib import Path

from mmdcls.command_line import ArgumentParser

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Print what the command line asks for."""
    parser = ArgumentParser(__doc__, '--measure-loading --out cost.json')
    parser.add_argument(
        '--measure-loading',
        action='store_true',
        help='measure how many images of ImageNet a core loads',
    )
    parser.add_argument('--out', help='also write all numbers to this JSON file')
    args = parser.parse_args()
    with parser.one_sentence_errors():
        import mmdcls.registry  # noqa: F401, finds mmseg's configs
        from mmdcls.analysis.loading_speed import images_per_core
        from mmdcls.analysis.reports import silence_mmengine
        from mmdcls.files import write_json
        from mmdcls.paper.training_cost import as_dict, to_markdown, training_costs

        silence_mmengine()
        costs = training_costs(ROOT)
        facts, rate = as_dict(costs), None
        if args.measure_loading:
            from mmengine.config import Config

            rate = images_per_core(Config.fromfile(ROOT / costs[0].config))
            facts['images_per_core'] = rate
            print(f'One core of this machine loads {rate:.0f} images of ImageNet/s.\n')
        print(to_markdown(costs, rate))
        if args.out:
            write_json(args.out, facts)


if __name__ == '__main__':
    main()

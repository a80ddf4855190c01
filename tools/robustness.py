"""Evaluate a checkpoint on the robustness benchmarks of the paper's Table 5.

Works for any mmpretrain config, and for mmseg and mmdet configs under corruption. Every
finished cell (benchmark x corruption x severity) is kept: the same command goes on
where it was stopped.
"""

from mmdcls.command_line import (
    ArgumentParser,
    config_settings,
    parse_arguments,
    whole_number,
)


def main() -> None:
    """Run the evaluation that the command line asks for."""
    parser = ArgumentParser(
        __doc__, 'CONFIG CHECKPOINT --data-root data --benchmarks clean c'
    )
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument(
        '--benchmarks',
        nargs='+',
        metavar='NAME',
        help='any of clean, c, cbar, a, r, sketch (segmentation and detection: clean, '
        'c); default: all',
    )
    parser.add_argument('--corruptions', nargs='+', metavar='NAME', help='only these')
    parser.add_argument(
        '--severities', nargs='+', type=int, choices=range(1, 6), help='only these'
    )
    parser.add_argument(
        '--extra',
        action='store_true',
        help="also ImageNet-C's four extra corruptions, which are in no average",
    )
    parser.add_argument(
        '--on-the-fly',
        action='store_true',
        help='corrupt the clean images while loading them, in place of reading '
        'ImageNet-C (segmentation and detection always do)',
    )
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='go on without the cells whose images are not there',
    )
    parser.add_argument(
        '--batch-size', type=whole_number(1), help="in place of the config's"
    )
    parser.add_argument(
        '--input-size',
        type=whole_number(1),
        help="side of the crop, in place of the config's",
    )
    parser.add_argument('--name', help="the model's name in the report")
    parser.add_argument(
        '--compare',
        nargs='+',
        default=[],
        metavar='JSON',
        help='reports of other models, to put beside this one',
    )
    parser.add_argument(
        '--out', help='folder of cells and report (default: WORK_DIR/robustness)'
    )
    args = parse_arguments(parser)

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmengine.dist import is_main_process

        from mmdcls.apis.launch import load_config
        from mmdcls.apis.unpickling import refuse_unpickling
        from mmdcls.robustness.report import files
        from mmdcls.robustness.run import Settings, leave_processes, run

        # What the data root stands for is the task's to say.
        cfg = load_config(args.config, **{**config_settings(args), 'data_root': None})
        refuse_unpickling(cfg, ('test',), args.allow_pickle)
        settings = Settings(
            benchmarks=args.benchmarks,
            corruptions=args.corruptions,
            severities=args.severities,
            extra=args.extra,
            on_the_fly=args.on_the_fly,
            allow_missing=args.allow_missing,
            batch_size=args.batch_size,
            input_size=args.input_size,
            amp=args.amp,
        )
        path = run(
            cfg,
            args.checkpoint,
            settings,
            data_root=args.data_root,
            out=args.out,
            name=args.name,
            compare=args.compare,
        )
    if is_main_process():
        print(path.with_suffix('.md').read_text())
        print(*files(path), sep='\n')
    leave_processes()


if __name__ == '__main__':
    main()

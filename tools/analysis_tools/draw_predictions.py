"""Draw test images beside their ground truth and a checkpoint's predictions."""

from mmdcls.command_line import (
    ArgumentParser,
    config_settings,
    number_within,
    parse_arguments,
    whole_number,
)


def main() -> None:
    """Write the picture that the command line asks for."""
    parser = ArgumentParser(__doc__, 'CONFIG CHECKPOINT predictions.png --count 6')
    parser.add_argument('config', help='a segmentation or detection config')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('out', help='the PNG file to write')
    parser.add_argument(
        '--count', type=whole_number(1), default=4, help='how many images'
    )
    parser.add_argument(
        '--score-thr',
        type=number_within(0, 1),
        default=0.3,
        help='draw objects above this score',
    )
    args = parse_arguments(parser, ('--work-dir', '--data-root', '--allow-pickle'))

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmdcls.analysis.pictures import draw_predictions
        from mmdcls.apis.data_paths import check_data_paths
        from mmdcls.apis.launch import build_runner, load_config
        from mmdcls.apis.run_outputs import check_outputs
        from mmdcls.apis.strategies import leave_out_strategy
        from mmdcls.apis.unpickling import refuse_unpickling

        cfg = load_config(args.config, **config_settings(args), splits=('test',))
        check_outputs(cfg, ('test',), (args.out,), (args.config, args.checkpoint))
        cfg.load_from = args.checkpoint
        check_data_paths(cfg, ('test',))
        refuse_unpickling(cfg, ('test',), args.allow_pickle)
        leave_out_strategy(cfg)
        runner = build_runner(cfg, partial_checkpoint=False)
        runner.load_or_resume()
        path = draw_predictions(runner, args.out, args.count, args.score_thr)
        print(f'Written: {path}')


if __name__ == '__main__':
    main()

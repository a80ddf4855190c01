"""Evaluate a checkpoint of any mmseg, mmdet or mmpretrain config."""

from mmdcls.command_line import ArgumentParser, config_settings, parse_arguments


def main() -> None:
    """Run the evaluation that the command line asks for."""
    parser = ArgumentParser(
        __doc__, 'CONFIG work_dirs/CONFIG/iter_160000.pth --show-dir pictures'
    )
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument(
        '--out',
        help='write the predictions: to FILE.pkl; in segmentation also to a folder, as '
        'label images',
    )
    parser.add_argument('--show-dir', help='write a picture of every prediction here')
    parser.add_argument(
        '--tta', action='store_true', help='average over test-time augmentations'
    )
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of weights that do not fit the model, and list the rest',
    )
    args = parse_arguments(parser)

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmdcls.apis.data_paths import check_data_paths
        from mmdcls.apis.launch import (
            build_runner,
            check_amp_evaluation,
            draw_predictions,
            enable_tta,
            load_config,
        )
        from mmdcls.apis.run_outputs import check_outputs, written_predictions
        from mmdcls.apis.strategies import leave_out_strategy
        from mmdcls.apis.unpickling import refuse_unpickling
        from mmdcls.configs import building_from, require_parts
        from mmdcls.engine.whole_images_hook import WholeImagesHook

        cfg = load_config(args.config, **config_settings(args), splits=('test',))
        cfg.load_from = args.checkpoint
        cfg.resume = False
        leave_out_strategy(cfg)
        check_outputs(
            cfg, ('test',), (args.out, args.show_dir), (args.config, args.checkpoint)
        )
        require_parts(cfg, 'test')
        if args.amp:
            check_amp_evaluation(cfg)
            cfg.test_cfg.fp16 = True
        if args.show_dir:
            draw_predictions(cfg, args.show_dir)
        if args.tta:
            enable_tta(cfg)
        check_data_paths(cfg, ('test',))
        refuse_unpickling(cfg, ('test',), args.allow_pickle)
        with written_predictions(cfg, args.out):
            runner = build_runner(
                cfg, partial_checkpoint=False, allow_mismatch=args.allow_mismatch
            )
            runner.register_hook(WholeImagesHook())
            with building_from(cfg):
                runner.test()


if __name__ == '__main__':
    main()

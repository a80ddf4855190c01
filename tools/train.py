"""Train any mmseg, mmdet or mmpretrain config, with or without DCLS layers in it."""

import argparse

from mmdcls.command_line import one_sentence_errors, parse_arguments


def main() -> None:
    """Run the training that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint; without a path, from the latest in work_dir',
    )
    parser.add_argument(
        '--pretrained',
        help='start the backbone from the weights in this checkpoint (init_cfg)',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate while training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the real batch size (auto_scale_lr)',
    )
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of weights that do not fit the model, and list the rest',
    )
    args = parse_arguments(parser)

    # After the command line is read, so that --device can hide the GPUs from torch.
    from mmdcls.apis.data_checks import check_data_against_model
    from mmdcls.apis.data_paths import check_data_paths
    from mmdcls.apis.launch import (
        ConfigError,
        build_runner,
        enable_amp,
        load_config,
        start_backbone_from,
    )
    from mmdcls.apis.run_outputs import check_start
    from mmdcls.apis.unpickling import refuse_unpickling

    with one_sentence_errors():
        cfg = load_config(args, splits=('train', 'val'))
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        if args.amp:
            enable_amp(cfg)
        if args.auto_scale_lr:
            if not cfg.get('auto_scale_lr'):
                raise ConfigError('--auto-scale-lr: the config has no auto_scale_lr.')
            cfg.auto_scale_lr.enable = True
        if args.pretrained:
            start_backbone_from(cfg, args.pretrained)
        if args.resume:
            cfg.resume = True
            cfg.load_from = None if args.resume == 'auto' else args.resume
        check_start(cfg)
        check_data_paths(cfg, ('train', 'val'))
        refuse_unpickling(cfg, ('train', 'val'), args.allow_pickle)
        check_data_against_model(cfg, ('train', 'val'))
        runner = build_runner(
            cfg,
            partial_checkpoint=not cfg.get('resume'),
            allow_mismatch=args.allow_mismatch,
        )
        runner.train()


if __name__ == '__main__':
    main()

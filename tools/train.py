"""Train any mmseg, mmdet or mmpretrain config, with or without DCLS layers in it."""

from mmdcls.command_line import ArgumentParser, config_settings, parse_arguments


def main() -> None:
    """Run the training that the command line asks for."""
    parser = ArgumentParser(__doc__, 'CONFIG --work-dir work_dirs/mine --amp --resume')
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

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmdcls.apis.data_checks import check_data_against_model
        from mmdcls.apis.data_paths import check_data_paths
        from mmdcls.apis.launch import (
            build_runner,
            enable_amp,
            load_config,
            start_backbone_from,
            use_exact_resuming,
            warn_of_random_backbone,
        )
        from mmdcls.apis.run_outputs import check_start
        from mmdcls.apis.unpickling import refuse_unpickling
        from mmdcls.errors import ConfigError

        cfg = load_config(args.config, **config_settings(args), splits=('train', 'val'))
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        if args.amp:
            enable_amp(cfg)
        if args.auto_scale_lr:
            if not cfg.get('auto_scale_lr'):
                raise ConfigError('`auto_scale_lr`: the config has no auto_scale_lr.')
            cfg.auto_scale_lr.enable = True
        if args.pretrained:
            start_backbone_from(cfg, args.pretrained)
        if args.resume:
            cfg.resume = True
            cfg.load_from = None if args.resume == 'auto' else args.resume
        warn_of_random_backbone(cfg)
        use_exact_resuming(cfg)
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

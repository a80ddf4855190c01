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
    parser.add_argument(
        '--save-on-sigterm',
        action='store_true',
        help='on SIGTERM, as clusters send it, save a checkpoint before the end',
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
        from mmdcls.apis.run_outputs import check_start, held_work_dir
        from mmdcls.apis.unpickling import refuse_unpickling
        from mmdcls.configs import building_from, require_parts
        from mmdcls.errors import ConfigError

        cfg = load_config(args.config, **config_settings(args), splits=('train', 'val'))
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        if cfg.get('val_dataloader'):
            require_parts(cfg, 'val')
        require_parts(cfg, 'train')
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
        if args.save_on_sigterm:
            saving = dict(type='mmdcls.SaveOnTerminationHook')
            cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), saving]
        with held_work_dir(cfg):
            runner = build_runner(
                cfg,
                partial_checkpoint=not cfg.get('resume'),
                allow_mismatch=args.allow_mismatch,
            )
            with building_from(cfg):
                runner.train()


if __name__ == '__main__':
    main()

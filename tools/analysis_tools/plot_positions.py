"""Draw how fast positions moved in a training, beside its learning rate.

The left-hand sides of the paper's Figures 7 and 8. The training's config needs
``custom_hooks = [dict(type='mmdcls.PositionStatisticsHook')]``.
"""

from pathlib import Path

from mmdcls.command_line import ArgumentParser


def main() -> None:
    """Draw what the command line asks for."""
    parser = ArgumentParser(__doc__, 'work_dirs/CONFIG --out positions.png')
    parser.add_argument('work_dir', help="the training's folder")
    parser.add_argument('--out', help='PNG file; default: WORK_DIR/positions.png')
    args = parser.parse_args()

    from mmdcls.analysis.position_plot import (
        find_position_logs,
        plot_positions,
        read_position_log,
    )
    from mmdcls.files import refuse_overwriting

    out = args.out or Path(args.work_dir) / 'positions.png'
    with parser.one_sentence_errors():
        refuse_overwriting([out], find_position_logs(args.work_dir))
        print(plot_positions(read_position_log(args.work_dir), out))


if __name__ == '__main__':
    main()

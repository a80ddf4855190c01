"""Train, evaluate and draw the mini configs of all three tasks (`make demo`).

The classifier's picture is of its errors under the corruptions of ImageNet-C. Every
evaluation reads its checkpoint in a fresh process, through tools/test.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmdcls.apis.data_paths import check_data_paths
from mmdcls.command_line import ArgumentParser, add_cfg_options
from mmdcls.configs import change_config, read_config
from mmdcls.files import markdown_table, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
# What a watcher wants to see of mmengine's log.
PROGRESS = re.compile(r'(Iter|Epoch)\((train|val|test)\)|Saving checkpoint')
TASKS = {
    'segmentation': dict(
        config='configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
        score='mIoU',
        score_name='mIoU',
        baseline='majority class',
    ),
    'detection': dict(
        config='configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
        score='coco/segm_mAP_50',
        score_name='mask AP50',
        baseline='untrained model',
    ),
    'classification': dict(
        config='configs/mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py',
        score='accuracy/top1',
        score_name='top-1',
        baseline='majority class',
    ),
}


def main() -> None:
    """Run the demo."""
    parser = ArgumentParser(__doc__, '--tasks segmentation')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS))
    parser.add_argument('--work-dir', default='work_dirs/demo', type=Path)
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='passed on to every step'
    )
    args = parser.parse_args()
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    console = Console()
    with parser.one_sentence_errors():
        rows = []
        for name in args.tasks:
            console.rule(f'[bold]{name}')
            rows.append(run_task(name, (args.work_dir / name).resolve(), options))
        report(rows, args.work_dir.resolve(), console)


def run_task(name: str, work_dir: Path, options: list[str]) -> dict:
    """Train, evaluate and draw one task; returns its row of the score table."""
    config = TASKS[name]['config']
    baseline = {
        'segmentation': majority_class_miou,
        'detection': untrained_score,
        'classification': majority_class_accuracy,
    }
    baseline_score = baseline[name](name, work_dir, options)
    start = time.perf_counter()
    train_log = work_dir / 'train.log'
    run(train_log, 'tools/train.py', config, '--work-dir', work_dir, *options)
    minutes = (time.perf_counter() - start) / 60
    checkpoint = Path((work_dir / 'last_checkpoint').read_text())
    score = evaluate(name, checkpoint, work_dir / 'test', options)
    if name == 'classification':
        picture = measure_robustness(config, checkpoint, work_dir, options)
    else:
        picture = work_dir / 'predictions.png'
        draw = 'tools/analysis_tools/draw_predictions.py'
        run(work_dir / 'draw.log', draw, config, checkpoint, picture, *options)
    return {
        'task': name,
        'score': TASKS[name]['score_name'],
        'trained': score,
        'baseline': baseline_score,
        'baseline is': TASKS[name]['baseline'],
        'minutes': round(minutes, 1),
        'checkpoint': str(checkpoint),
        'picture': str(picture),
    }


def run(log: Path | None, script: str, *arguments: object) -> None:
    """Run one of our tools in a fresh process; its failure is ours.

    With ``log``, its progress is shown and everything that it prints goes there.
    """
    command = [sys.executable, script, *map(str, arguments)]
    print('$', 'python', *command[1:], flush=True)
    environment = {**os.environ, 'PYTHONWARNINGS': 'ignore'}
    options = dict(cwd=ROOT, env=environment, text=True)
    if log is None:
        if subprocess.run(command, **options).returncode:
            sys.exit(f'error: {script} failed; see its output above.')
        return
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process = subprocess.Popen(command, **options, **pipes)
    width = shutil.get_terminal_size().columns
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
        for line in process.stdout:
            file.write(line)
            if PROGRESS.search(line):
                print(line.rstrip()[:width], flush=True)
    if process.wait():
        print(log.read_text()[-3000:])
        sys.exit(f'error: {script} failed; the whole of its output is in {log}.')


def measure_robustness(
    config: str, checkpoint: Path, work_dir: Path, options: list[str]
) -> Path:
    """Evaluate under corruptions of the mini ImageNet; returns the plot."""
    run(None, 'tools/dataset_converters/make_mini_robustness.py')
    folder = work_dir / 'robustness'
    arguments = ('--data-root', 'data/mini/robustness', '--out', folder, *options)
    run(None, 'tools/robustness.py', config, checkpoint, *arguments)
    return next(folder.glob('*.png'))


def evaluate(name: str, checkpoint: Path, work_dir: Path, options: list[str]) -> float:
    """Score a checkpoint with tools/test.py, in percent."""
    task = TASKS[name]
    arguments = (task['config'], checkpoint, '--work-dir', work_dir, *options)
    run(work_dir / 'test.log', 'tools/test.py', *arguments)
    # mmengine writes the scores of each run to <work_dir>/<time>/<time>.json, and
    # mmdet none for a model that detects nothing, whose precision is 0.
    scores = json.loads(max(work_dir.glob('*/*.json')).read_text())
    percent = 100 if name == 'detection' else 1
    return round(scores.get(task['score'], 0.0) * percent, 1)


def untrained_score(name: str, work_dir: Path, options: list[str]) -> float:
    """Score the model as it is before the first iteration."""
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import set_random_seed

    from mmdcls.converters import write_checkpoint

    cfg = load_config(name, options)
    init_default_scope(cfg.default_scope)
    set_random_seed(cfg.randomness.seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    checkpoint = work_dir / 'untrained.pth'
    write_checkpoint({'state_dict': model.state_dict()}, checkpoint)
    return evaluate(name, checkpoint, work_dir / 'untrained', options)


def majority_class_miou(name: str, work_dir: Path, options: list[str]) -> float:
    """The mIoU of predicting the training set's most frequent class everywhere."""
    import torch
    from mmseg.evaluation import IoUMetric
    from mmseg.registry import DATASETS

    cfg = load_config(name, options)
    labels = {}
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.pipeline = [dict(type='LoadAnnotations', reduce_zero_label=True)]
        dataset = DATASETS.build(dataset)
        maps = [
            torch.from_numpy(item['gt_seg_map']).flatten().long() for item in dataset
        ]
        labels[split] = torch.cat(maps)
    train = labels['train'][labels['train'] != 255]
    classes = len(dataset.metainfo['classes'])
    majority = train.bincount(minlength=classes).argmax()
    areas = IoUMetric.intersect_and_union(
        majority.expand_as(labels['val']), labels['val'], classes, ignore_index=255
    )
    iou = IoUMetric.total_area_to_metrics(*areas, metrics=['mIoU'])['IoU']
    return round(100 * float(torch.tensor(iou).nanmean()), 1)


def majority_class_accuracy(name: str, work_dir: Path, options: list[str]) -> float:
    """The top-1 accuracy of always predicting the most frequent class."""
    from mmpretrain.registry import DATASETS

    dataset = DATASETS.build(load_config(name, options).val_dataloader.dataset)
    labels = dataset.get_gt_labels().tolist()
    return round(100 * max(map(labels.count, set(labels))) / len(labels), 1)


def load_config(name: str, options: list[str]) -> Config:
    """The config as tools/train.py would read it."""
    parser = ArgumentParser('', '')
    add_cfg_options(parser)
    cfg = read_config(str(ROOT / TASKS[name]['config']))
    change_config(cfg, parser.parse_args(options).cfg_options)
    check_data_paths(cfg, ('train', 'val'))
    return cfg


def report(rows: list[dict], work_dir: Path, console: Console) -> None:
    """Print the scores, and write them as Markdown and JSON."""
    columns = ('task', 'score', 'trained', 'baseline', 'baseline is', 'minutes')
    table = Table(*columns)
    cells = [[str(row[column]) for column in columns] for row in rows]
    for row in cells:
        table.add_row(*row)
    console.print(table)
    write_text(work_dir / 'scores.md', markdown_table(columns, cells))
    write_json(work_dir / 'scores.json', rows)
    for row in rows:
        print(f'Picture:    {row["picture"]}')
        print(f'Checkpoint: {row["checkpoint"]}')
    print(f'Scores:     {work_dir / "scores.md"}, {work_dir / "scores.json"}')


if __name__ == '__main__':
    main()

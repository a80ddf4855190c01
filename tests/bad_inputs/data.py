"""Images and label maps that are none, are broken, or are no files."""

import os
import shutil
from pathlib import Path

from bad_inputs.cases import Case, spread
from bad_inputs.materials import WORDNET_IDS

TOOLS = {
    'train.py': '{m}/cls.py --work-dir {out} --data-root {m}/images/KIND/train',
    'test.py': '{m}/cls.py {m}/cls.pth --work-dir {out} '
    '--data-root {m}/images/KIND/val',
    'check_dataset.py': '{m}/cls.py --splits test --workers 1 '
    '--data-root {m}/images/KIND/val',
    'predict.py': '{m}/cls.py {m}/cls.pth {m}/images/KIND/val/'
    + f'{WORDNET_IDS[0]}/a.png --out-dir {{out}}/p',
    'dataset_converters/corrupt_imagenet.py': '{m}/images/KIND/val {out}/c --workers 1 '
    '--corruptions contrast --severities 1',
    'dataset_converters/make_mini_robustness.py': '--source {m}/images/KIND/val '
    '--target {out}/r --images-per-class 1 --workers 1',
    'deployment/export.py': '{m}/cls.py {m}/cls.pth {out}/m.onnx --shape 32 32 '
    + f'--images {{m}}/images/KIND/val/{WORDNET_IDS[0]}/a.png',
}
KINDS = {
    'text': lambda path: path.write_text('no picture'),
    'empty': lambda path: path.write_bytes(b''),
    'cut': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    'zeros': lambda path: path.write_bytes(bytes(500)),
    'pipe': lambda path: (path.unlink(), os.mkfifo(path)),
    'device': lambda path: (path.unlink(), path.symlink_to('/dev/zero')),
    'link': lambda path: (path.unlink(), path.symlink_to('/nowhere')),
}
LABELS = {
    'train.py': '{m}/seg.py --work-dir {out} --data-root {m}/labels/KIND',
    'test.py': '{m}/seg.py {m}/seg.pth --work-dir {out} --data-root {m}/labels/KIND',
    'check_dataset.py': '{m}/seg.py --splits test --workers 1 '
    '--data-root {m}/labels/KIND',
    'robustness.py': '{m}/seg.py {m}/seg.pth --benchmarks clean --out {out}/r '
    '--work-dir {out}/w --data-root {m}/labels/KIND',
    'analysis_tools/draw_predictions.py': '{m}/seg.py {m}/seg.pth {out}/a.png '
    '--count 3 --data-root {m}/labels/KIND',
}
FOLDERS = [
    ('no images', 'train.py', '{m}/cls.py --work-dir {out} --data-root {m}/folder',
     '{m}/folder'),
    ('no images', 'check_dataset.py', '{m}/cls.py --data-root {m}/folder', 'folder'),
    ('no images', 'test.py', '{m}/cls.py {m}/cls.pth --work-dir {out} '
     '--data-root {m}/folder', 'folder'),
    ('no label maps', 'train.py', '{m}/seg.py --work-dir {out} '
     '--data-root {m}/unlabelled', "train_dataloader.dataset.data_prefix.seg_map_path"),
    ('no label maps', 'test.py', '{m}/seg.py {m}/seg.pth --work-dir {out} '
     '--data-root {m}/unlabelled', "test_dataloader.dataset.data_prefix.seg_map_path"),
    ('no label maps', 'check_dataset.py', '{m}/seg.py --data-root {m}/unlabelled',
     '{m}/unlabelled/labels: is no folder'),
]  # fmt: skip


def write(materials: Path) -> None:
    """Copy the sound data, and spoil one file of each copy."""
    for kind, spoil in KINDS.items():
        for split in ('train', 'val'):
            folder = materials / 'images' / kind / split
            shutil.copytree(materials / 'data/imagenet' / split, folder)
            spoil(folder / WORDNET_IDS[0] / 'a.png')
        folder = materials / 'labels' / kind
        shutil.copytree(materials / 'data/segmentation', folder)
        spoil(folder / 'labels/a.png')
    (materials / 'unlabelled').mkdir()
    shutil.copytree(
        materials / 'data/segmentation/images', materials / 'unlabelled/images'
    )


def rows() -> list[Case]:
    cases = []
    for theme, tools in (('image', TOOLS), ('label map', LABELS)):
        for kind, (tool, arguments) in spread(KINDS, tools.items(), 4):
            if (theme, kind, tool) not in ACCEPTED:
                arguments = arguments.replace('KIND', kind)
                cases.append(Case(f'{theme}: {kind}', tool, arguments, 'a.png'))
    return cases + [Case(*row) for row in FOLDERS]


# mmpretrain passes over what is no file when it lists a folder, and OpenCV fills up the
# rest of a PNG; tools/check_dataset.py tells of both.
ACCEPTED = {
    *(('image', kind, tool) for kind in ('pipe', 'device', 'link')
      for tool in ('train.py', 'test.py')),
    ('image', 'cut', 'train.py'),
    ('label map', 'cut', 'train.py'),
}  # fmt: skip

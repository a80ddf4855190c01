"""Settings of the config that the command line changes: keys that nobody reads."""

from pathlib import Path

from bad_inputs.cases import Case, spread

TOOLS = {
    'train.py': '{m}/cls.py --work-dir {out} --cfg-options ',
    'test.py': '{m}/cls.py {m}/cls.pth --work-dir {out} --cfg-options ',
    'robustness.py': '{m}/cls.py {m}/cls.pth --out {out} --cfg-options ',
    'check_dataset.py': '{m}/cls.py --workers 1 --cfg-options ',
    'deployment/export.py': '{m}/cls.py {m}/cls.pth {out}/m.onnx --cfg-options ',
    'analysis_tools/get_flops.py': '{m}/cls.py --shape 32 32 --cfg-options ',
    'analysis_tools/benchmark.py': '{m}/cls.py {m}/cls.py --shape 32 32 --rounds 1 '
    '--iterations 1 --batch-size 1 --cfg-options ',
    'analysis_tools/draw_predictions.py': '{m}/seg.py {m}/seg.pth {out}/a.png '
    '--cfg-options ',
}
EVERYWHERE = [
    ('a.b.c.d=1', "'a.b.c.d': the config '"),
    ('modle.x=1', "has no 'modle'; the nearest is 'model'"),
    ('model.bakbone.depth=3', "has no 'bakbone'; the nearest is 'backbone'"),
    ('nonsense', "--cfg-options: 'nonsense' is not key=value"),
]
OF_TRAINING = [
    ('=3', "'=3' is not key=value"),
    ('a=[1,2', 'Imbalanced brackets'),
    ('model..depth=3', "'model..depth' has an empty part"),
    ('model=3', 'model=3, where a dictionary is expected'),
    ('model.backbone=3', 'model.backbone=3, where a dictionary is expected'),
    ('model.type.x=3', "model.type is 'ImageClassifier' in the config"),
    ('train_dataloader.batch_sise=3', "has no 'batch_sise'; the nearest is"),
    ('train_dataloader.batch_size=0', 'train_dataloader.batch_size=0, where a whole'),
    ('train_dataloader.batch_size=4.5', 'train_dataloader.batch_size=4.5, where'),
    ('train_dataloader.num_workers=two', "num_workers='two', where a whole number"),
    ('train_dataloader.dataset.pipeline.9.type=x', 'none of the places 0 to 3'),
    ('train_dataloader.dataset.pipeline.x.type=x', 'none of the places 0 to 3'),
    ('train_dataloader.dataset.pipeline.1.scael=3', "has no 'scael'; the nearest is"),
    ('train_dataloader.dataset.datta_root=x', "has no 'datta_root'; the nearest is"),
    ('train_cfg.max_epochs=None', 'max_epochs=None, where a whole number'),
    ('optim_wrapper.optimizer.lrr=3', "has no 'lrr'; the nearest is 'lr'"),
    (
        'optim_wrapper.optimizerr.lr=3',
        "the nearest is 'optimizer'",
    ),
    ('model.head.num_clases=3', "has no 'num_clases'; the nearest is 'num_classes'"),
    ('model.head.num_classes=-1', 'model.head'),
    ('model.backbone.arch=tiny9', "model.backbone (type='ConvNeXt')"),
    ('default_hooks.checkpointt.interval=5', "default_hooks.checkpointt has no 'type'"),
    ('workdir=x', "has no 'workdir'; the nearest is 'work_dir'"),
    ('work_dir=3', 'work_dir=3, where a text is expected'),
    ('default_scope=mmsegg', 'is no package that registers anything; the nearest'),
    ('runner_type=Runer', "runner_type='Runer' is unknown"),
    ('custom_hooks=x', "custom_hooks='x', where a list is expected"),
    ('load_from=[a.pth]', "load_from=['a.pth'], where a text"),
    ('resume=maybe', "resume='maybe', where True or False"),
]


def write(materials: Path) -> None:
    """Nothing is needed."""


def rows() -> list[Case]:
    cases = [
        Case(option, tool, f'{arguments}{option}', sentence)
        for (option, sentence), (tool, arguments) in spread(
            EVERYWHERE, TOOLS.items(), 4
        )
    ]
    return cases + [
        Case(option, 'train.py', f'{TOOLS["train.py"]}{option}', sentence)
        for option, sentence in OF_TRAINING
    ]

"""Configs that cannot be read, lack parts, or have parts that cannot be."""

from pathlib import Path

from bad_inputs.cases import Case, spread

# The arguments of every tool that reads a config, with the config left open.
TOOLS = {
    'train.py': '{config} --work-dir {{out}}',
    'test.py': '{config} {{m}}/cls.pth --work-dir {{out}}',
    'predict.py': '{config} {{m}}/cls.pth {{m}}/image.png --out-dir {{out}}/a',
    'robustness.py': '{config} {{m}}/cls.pth --data-root {{m}}/data --out {{out}}',
    'check_dataset.py': '{config} --workers 1',
    'model_converters/fold.py': '{config} {{m}}/cls.pth {{out}}/folded.pth',
    'model_converters/mmdcls_to_official.py': '{{m}}/dcls.pth {{out}}/o.pth '
    '--task cls --config {config}',
    'model_converters/official_to_mmdcls.py': '{{m}}/cls.pth {{out}}/o.pth '
    '--from-convnext --config {config}',
    'deployment/export.py': '{config} {{m}}/cls.pth {{out}}/m.onnx',
    'analysis_tools/get_flops.py': '{config} --shape 32 32',
    'analysis_tools/benchmark.py': '{config} {{m}}/cls.py --shape 32 32 --rounds 1 '
    '--iterations 1 --batch-size 1',
    'analysis_tools/draw_predictions.py': '{config} {{m}}/cls.pth {{out}}/a.png',
}

# Name of the file, what is wrong, its content, the sentence.
UNREADABLE = [
    ('syntax.py', 'no Python', 'model = dict(\n', "syntax.py' is no Python: line 1:"),
    ('latin.py', 'Latin-1', b"model = 'f\xe9e'\n", "latin.py' is no text in UTF-8"),
    ('name.py', 'unknown name', 'a = 1\nmodel = b\n', 'line 2: NameError'),
    ('base.py', 'no such _base_', "_base_ = './no.py'\n",
     "names a _base_ that does not exist: '{m}/no.py'"),
    ('circle.py', 'a circle', "_base_ = './circle.py'\n", 'A config is its own _base_'),
    ('broken_base.py', 'broken _base_', "_base_ = './syntax.py'\n",
     "syntax.py' (a base of '{m}/broken_base.py') is no Python"),
    ('twice.py', 'one _base_ twice', "_base_ = ['./cls.py', './cls.py']",
     'Duplicate key is not allowed among bases'),
    ('empty.py', 'no model', "default_scope = 'mmpretrain'\n",
     "empty.py' has no model"),
    ('null.json', 'broken JSON', '{"model": ', "null.json' cannot be read:"),
    ('config.txt', 'another ending', 'model = 3', 'must end in .py, .json, .yaml or'),
    ('number.py', 'model=3', 'model = 3', "number.py' cannot be used: model=3, where"),
    ('absent.py', 'absent', None, "'{m}/absent.py' does not exist"),
    ('folder', 'a folder', None, "'{m}/folder' is no file"),
]  # fmt: skip

# What tools that build the model find out; the arguments say for whom else.
UNBUILDABLE = [
    ('typo.py', 'unknown type', "model = dict(backbone=dict(type='ConvNext'))",
     "model.backbone.type='ConvNext' is unknown among what mmpretrain registers as "
     "model; the nearest is 'ConvNeXt'"),
    ('argument.py', 'unknown argument', 'model = dict(backbone=dict(drop_path=0.1))',
     "has no argument 'drop_path'; the nearest is 'drop_path_rate'"),
    ('needs.py', 'missing argument',
     "model = dict(head=dict(_delete_=True, type='LinearClsHead'))",
     "model.head (type='LinearClsHead') needs num_classes and in_channels"),
    ('value.py', 'wrong kind of value', "model = dict(head=dict(num_classes='ten'))",
     "takes a value of int as num_classes, and got 'ten'"),
    ('untyped.py', 'no type', 'model = dict(neck=dict(size=1))',
     "model.neck has no 'type'"),
    ('text.py', 'text for a part', "model = dict(neck='GlobalAveragePooling')",
     "model.neck='GlobalAveragePooling', where a dictionary is expected"),
    ('huge.py', 'absurd channels',
     'model = dict(backbone=dict(arch=dict(depths=[1] * 4, '
     'channels=[10**7, 8, 8, 8])))', 'asks for more memory than there is'),
    ('kernel.py', 'absurd kernel',
     "model = dict(backbone=dict(type='mmdcls.ConvNeXtDCLS', "
     'dilated_kernel_size=10**6 + 1, kernel_count=4))',
     'dilated_kernel_size=(1000001, 1000001)'),
]  # fmt: skip

# What is wrong for one tool, with what its config adds to that of a training.
PARTS = [
    ('train.py', 'train_dataloader = None', 'has no train_dataloader'),
    ('train.py', 'train_cfg = None', 'has no train_cfg'),
    ('train.py', 'optim_wrapper = None', 'has no optim_wrapper'),
    ('test.py', 'test_dataloader = None', 'has no test_dataloader'),
    ('test.py', 'test_cfg = None', 'has no test_cfg'),
    ('test.py', 'test_evaluator = None', 'has no test_evaluator'),
    ('predict.py', 'model = None', 'has no model'),
    ('predict.py', "default_scope = 'mmpose'", "default_scope='mmpose' is no package"),
    ('robustness.py', 'test_dataloader = None', 'test_dataloader'),
    ('robustness.py', "default_scope = 'mmengine'", "has default_scope='mmengine'"),
    ('check_dataset.py', "custom_hooks = dict(type='EMAHook')",
     "custom_hooks={{'type': 'EMAHook'}}, where a list is expected"),
    ('train.py', "custom_hooks = ['EMAHook']", "custom_hooks[0]='EMAHook'"),
    ('train.py', "custom_hooks = [dict(type='EMAHok')]",
     "custom_hooks[0].type='EMAHok' is unknown"),
    ('train.py', "train_dataloader = dict(batch_size='5')",
     "train_dataloader.batch_size='5', where a whole number of at least 1"),
    ('train.py', 'train_dataloader = dict(batch_size=0)', 'batch_size=0, where'),
    ('train.py', 'train_dataloader = dict(num_workers=-1)', 'num_workers=-1, where'),
    ('train.py', 'train_dataloader = dict(persistent_workers=True)',
     'train_dataloader.persistent_workers=True goes with num_workers of 1'),
    ('train.py', 'train_dataloader = dict(batch_sise=2)',
     "has no setting 'batch_sise'; the nearest is 'batch_size'"),
    ('train.py', "train_dataloader = dict(dataset='imagenet')",
     "train_dataloader.dataset='imagenet', where a dictionary"),
    ('train.py', 'train_dataloader = dict(dataset=dict(data_root=5))',
     'train_dataloader.dataset.data_root=5, where a text'),
    ('train.py', "train_dataloader = dict(dataset=dict(pipeline='LoadImage'))",
     "pipeline='LoadImage', where a list"),
    ('train.py', "train_dataloader = dict(dataset=dict(pipeline=['Load']))",
     "pipeline[0]='Load', where a dictionary"),
    ('train.py', "train_dataloader = dict(dataset=dict(type='CustomDatset'))",
     "train_dataloader.dataset.type='CustomDatset' is unknown"),
    ('train.py', "train_dataloader = dict(dataset=dict(pipeline=[dict(type='Lod')]))",
     "train_dataloader.dataset.pipeline[0].type='Lod' is unknown"),
    ('train.py', "train_dataloader = dict(sampler=dict(type='DefaultSmpler'))",
     "train_dataloader.sampler.type='DefaultSmpler' is unknown"),
    ('train.py', "train_dataloader = dict(sampler=dict(shufffle=False))",
     "has no argument 'shufffle'; the nearest is 'shuffle'"),
    ('train.py', "train_cfg = dict(max_epochs='many')", "max_epochs='many', where"),
    ('train.py', 'train_cfg = dict(max_epochs=-1)', 'train_cfg.max_epochs=-1, where'),
    ('train.py', 'train_cfg = dict(val_interval=0)', 'train_cfg.val_interval=0'),
    ('train.py', 'train_cfg = dict(max_epoch=2)', "'max_epoch'"),
    ('train.py', 'train_cfg = dict(max_iters=5)', 'max_iters'),
    ('train.py', "optim_wrapper = dict(type='OptimWraper')",
     "optim_wrapper.type='OptimWraper' is unknown"),
    ('train.py', "optim_wrapper = dict(optimizer=dict(type='SDG'))",
     "optim_wrapper.optimizer.type='SDG' is unknown"),
    ('train.py', 'optim_wrapper = dict(optimizer=dict(lr=-1))',
     'optim_wrapper.optimizer (type='),
    ('train.py', "optim_wrapper = dict(optimizer=dict(lr='fast'))", 'optimizer (type='),
    ('train.py', 'optim_wrapper = dict(optimizer=dict(momentun=0.9))', "'momentun'"),
    ('train.py', 'optim_wrapper = dict(optimizer=None)', 'optim_wrapper'),
    ('train.py', "optim_wrapper = 'SGD'", "optim_wrapper='SGD', where a dictionary"),
    ('train.py', "param_scheduler = dict(type='CosineLR')",
     "param_scheduler.type='CosineLR' is unknown"),
    ('train.py', "param_scheduler = [dict(type='LinearLR', start_factor=-1)]",
     'param_scheduler[0] (type='),
    ('train.py', 'param_scheduler = 0.1', 'param_scheduler=0.1, where a dictionary'),
    ('train.py', "default_hooks = dict(logger=dict(type='LogerHook'))",
     "default_hooks.logger.type='LogerHook' is unknown"),
    ('train.py', 'default_hooks = [1]', 'default_hooks=[1], where a dictionary'),
    ('train.py', "default_hooks = dict(checkpoint=dict(type='CheckpointHook', "
     'intervall=1))', "has no argument 'intervall'; the nearest is 'interval'"),
    ('train.py', "work_dir = 5", 'work_dir=5, where a text is expected'),
    ('train.py', "resume = 'yes'", "resume='yes', where True or False is expected"),
    ('train.py', "load_from = ['a.pth']", "load_from=['a.pth'], where a text"),
    ('train.py', "log_level = 'LOUD'", 'LOUD'),
    ('train.py', "randomness = 3", 'randomness=3, where a dictionary'),
    ('train.py', "visualizer = dict(type='UniversalVisualiser')",
     "visualizer.type='UniversalVisualiser' is unknown"),
    ('train.py', "env_cfg = dict(mp_cfg=dict(mp_start_method='thread'))", 'thread'),
    ('test.py', "test_evaluator = dict(type='Acuracy')",
     "test_evaluator.type='Acuracy' is unknown"),
    ('test.py', "test_evaluator = 'Accuracy'", "test_evaluator='Accuracy', where"),
    ('test.py', 'test_evaluator = [None]', 'test_evaluator[0]=None, where'),
    ('test.py', 'test_dataloader = dict(batch_size=-4)', 'batch_size=-4, where'),
    ('test.py', "data_preprocessor = dict(mean='grey')", 'data_preprocessor'),
    ('train.py', "model = dict(type=5)", 'model.type=5'),
]  # fmt: skip


def write(materials: Path) -> None:
    """Write the configs."""
    for name, _, content, _ in UNREADABLE:
        if content is not None:
            content = content.encode() if isinstance(content, str) else content
            (materials / name).write_bytes(content)
    for name, _, content, _ in UNBUILDABLE:
        (materials / name).write_text(f"_base_ = './cls.py'\n{content}\n")
    for i, (_, content, _) in enumerate(PARTS):
        (materials / f'part{i}.py').write_text(f"_base_ = './cls.py'\n{content}\n")


def _arguments(tool: str, config: str) -> str:
    return TOOLS[tool].format(config=f'{{m}}/{config}')


def rows() -> list[Case]:
    """Tools read what cannot be read, and those that build what cannot be built."""
    builders = [tool for tool in TOOLS if tool != 'check_dataset.py']
    cases = [
        Case(what, tool, _arguments(tool, name), sentence)
        for tools, faults in ((TOOLS, UNREADABLE), (builders, UNBUILDABLE))
        for (name, what, _, sentence), tool in spread(faults, tools)
        # They build the model without memory, and compare shapes.
        if name != 'huge.py' or 'official' not in tool
    ]
    return cases + [
        Case(content, tool, _arguments(tool, f'part{i}.py'), sentence)
        for i, (tool, content, sentence) in enumerate(PARTS)
    ]

"""The command lines of all tools that write something."""

TOOLS = {
    'train.py': '{m}/cls.py --work-dir {out}/w',
    'test.py': '{m}/cls.py {m}/cls.pth --work-dir {out}/w --out {out}/p.pkl',
    'predict.py': '{m}/cls.py {m}/cls.pth {m}/image.png --out-dir {out}/p',
    'robustness.py': '{m}/cls.py {m}/cls.pth --data-root {m}/data --out {out}/r '
    '--benchmarks clean --work-dir {out}/w',
    'check_dataset.py': '{m}/cls.py --workers 1 --splits test '
    '--data-root {m}/images/text/val --out {out}/a/problems.txt',
    'dataset_converters/corrupt_imagenet.py': '{m}/data/imagenet/val {out}/c '
    '--workers 1 --corruptions contrast --severities 1',
    'dataset_converters/make_mini.py': 'imagenet --train 10 --val 10 --out-dir {out}/m',
    'dataset_converters/make_mini_robustness.py': '--source {m}/data/imagenet/val '
    '--target {out}/r --images-per-class 1 --workers 1',
    'model_converters/fold.py': '{m}/dcls.py {m}/dcls.pth {out}/a/f.pth',
    'model_converters/official_to_mmdcls.py': '{m}/cls.pth {out}/a/o.pth '
    '--from-convnext --config {m}/dcls.py',
    'model_converters/mmdcls_to_official.py': '{m}/dcls.pth {out}/a/o.pth --task cls '
    '--config {m}/dcls.py',
    'deployment/export.py': '{m}/cls.py {m}/cls.pth {out}/a/m.pt --shape 32 32',
    'analysis_tools/benchmark.py': '{m}/cls.py {m}/cls.py --shape 32 32 --rounds 1 '
    '--iterations 1 --batch-size 1 --modes inference --out {out}/a/b.json',
    'analysis_tools/compare_convolutions.py': '--seeds 1 --steps 1 --width 12 '
    '--canvas 56 --batch-size 2 --out {out}/a/c.json',
    'analysis_tools/draw_predictions.py': '{m}/seg.py {m}/seg.pth {out}/a/p.png '
    '--count 1 --work-dir {out}/w',
    'analysis_tools/paper_tables.py': '--tables 1 --no-count --json {out}/a/t.json',
}

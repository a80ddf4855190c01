"""What each config folder tells of its models: metafile.yml for mim, README.md."""

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmdcls.analysis.complexity import complexity_of_config
from mmdcls.paper.printed_tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('imagenet', 'ade20k', 'coco', 'mini')
METAFILES = {
    folder: yaml.safe_load((ROOT / f'configs/{folder}/metafile.yml').read_text())
    for folder in FOLDERS
}
MODELS = [
    pytest.param(
        folder,
        model,
        id=model['Name'],
        marks=[pytest.mark.slow][: folder != 'imagenet'],
    )
    for folder, metafile in METAFILES.items()
    for model in metafile['Models']
]
PRINTED = {
    Path(row.config).stem: row.printed
    for number in (1, 2, 3, 4)
    for row in TABLES[number].rows
    if row.config
}
# The columns of each README that hold what the paper prints.
COLUMNS = {
    'imagenet': ('parameters', 'flops', 'top1'),
    'ade20k': ('parameters', 'flops', 'mIoU'),
    'coco': ('flops', 'box_AP', 'mask_AP'),
    'mini': (),
}
METRICS = {
    'Top 1 Accuracy': 'top1',
    'mIoU': 'mIoU',
    'box AP': 'box_AP',
    'mask AP': 'mask_AP',
}
RELEASED = re.compile(
    r'https://zenodo\.org/record/(7019217|7112021)/files/'
    r'(upernet_|cascade_mask_rcnn_)?convnext_dcls_(tiny|small|base)_1k_\w+\.pth'
)


def test_the_index_lists_every_folder():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [f'configs/{folder}/metafile.yml' for folder in FOLDERS]
    folders = {path.parent.name for path in (ROOT / 'configs').rglob('*.py')}
    assert folders == {'_base_', *FOLDERS}


@pytest.mark.parametrize('folder', FOLDERS)
def test_every_config_is_there_once(folder):
    names = [model['Name'] for model in METAFILES[folder]['Models']]
    configs = [path.stem for path in (ROOT / 'configs' / folder).glob('*.py')]
    assert sorted(names) == sorted(configs)
    collections = {entry['Name'] for entry in METAFILES['imagenet']['Collections']}
    for model in METAFILES[folder]['Models']:
        assert model['Config'] == f'configs/{folder}/{model["Name"]}.py'
        assert model['In Collection'] in collections


@pytest.mark.parametrize('folder, model', MODELS)
def test_counts_are_what_get_flops_counts(folder, model):
    complexity = complexity_of_config(Config.fromfile(ROOT / model['Config']))
    assert model['Metadata']['FLOPs'] == complexity.flops
    assert model['Metadata']['Parameters'] == complexity.parameters


@pytest.mark.parametrize('folder', FOLDERS)
def test_scores_are_the_papers_and_stand_beside_the_authors_files(folder):
    released = 0
    for model in METAFILES[folder]['Models']:
        assert ('Results' in model) == ('Weights' in model)
        if 'Weights' not in model:
            continue
        released += 1
        (size,) = re.findall('tiny|small|base', model['Name'])
        assert RELEASED.fullmatch(model['Weights'])[3] == size
        assert model['Converted From']['Weights'] == model['Weights']
        for result in model['Results']:
            for metric, value in result['Metrics'].items():
                assert f'{value:.1f}' == PRINTED[model['Name']][METRICS[metric]]
    assert released == (0 if folder == 'mini' else 3)


@pytest.mark.parametrize('folder', FOLDERS)
def test_the_readme_says_what_metafile_and_paper_say(folder):
    text = (ROOT / f'configs/{folder}/README.md').read_text()
    lines = [line.split('|')[1:-1] for line in text.splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines if line]
    rows = {row[0]: row[1:] for row in cells if row[0].endswith('.py)')}
    models = METAFILES[folder]['Models']
    assert len(rows) == len(models)
    for model in models:
        name, metadata = model['Name'], model['Metadata']
        row = rows[f'[{name}]({name}.py)']
        counts = metadata['Parameters'] / 1e6, metadata['FLOPs'] / 1e9
        assert row[:2] == [f'{counts[0]:.2f}', f'{counts[1]:.1f}']
        printed = PRINTED.get(name, {})
        wanted = [printed.get(key, '') for key in COLUMNS[folder]]
        assert row[2 : 2 + len(wanted)] == wanted
        file = model.get('Weights')
        assert (row[-1] if file else '') == (
            f"[the authors' file]({file})" * bool(file)
        )

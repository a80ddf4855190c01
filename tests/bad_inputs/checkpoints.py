"""Checkpoints that are none, are broken, or do not fit."""

import os
import zipfile
from pathlib import Path

import torch

from bad_inputs.cases import Case, spread

TOOLS = {
    'test.py': '{{m}}/cls.py {file} --work-dir {{out}}',
    'predict.py': '{{m}}/cls.py {file} {{m}}/image.png --out-dir {{out}}/p',
    'robustness.py': '{{m}}/cls.py {file} --data-root {{m}}/data --out {{out}} '
    '--benchmarks clean --work-dir {{out}}/w',
    'train.py': '{{m}}/cls.py --work-dir {{out}} --pretrained {file}',
    'model_converters/fold.py': '{{m}}/cls.py {file} {{out}}/f.pth',
    'model_converters/official_to_mmdcls.py': '{file} {{out}}/o.pth',
    'model_converters/mmdcls_to_official.py': '{file} {{out}}/o.pth',
    'deployment/export.py': '{{m}}/cls.py {file} {{out}}/m.onnx',
}
_RESUME = '{{m}}/cls.py --work-dir {{out}} --resume {file}'


class Hostile:
    """What would write a file if it were unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


# What is wrong, the file, how it is made of a sound content, the sentence.
FAULTS = [
    ('a list', 'list.pth', lambda c: [c], 'holds a list instead of a dictionary'),
    ('a text', 'text.pth', lambda c: 'weights', 'holds a str instead of a dictionary'),
    ('a tensor', 'tensor.pth', lambda c: torch.ones(2), 'holds a Tensor instead'),
    ('an empty dictionary', 'none.pth', lambda c: {}, 'holds no tensors'),
    ('no tensors', 'nothing.pth', lambda c: {'state_dict': {}}, 'holds no tensors'),
    ('names that are numbers', 'numbers.pth',
     lambda c: {'state_dict': dict(enumerate(c['state_dict'].values()))},
     'it has the name 0, which is no text'),
    ('values that are no tensors', 'values.pth',
     lambda c: {'state_dict': dict.fromkeys(c['state_dict'], 3)},
     'is of type int where a tensor is expected'),
    ('NaN', 'nan.pth',
     lambda c: {'state_dict': {n: t * float('nan') if t.is_floating_point() else t
                               for n, t in c['state_dict'].items()}},
     'holds values that are NaN or infinite in'),
    ('infinite values', 'inf.pth',
     lambda c: {'state_dict': {n: t / 0 for n, t in c['state_dict'].items()}},
     'holds values that are NaN or infinite in'),
]  # fmt: skip
# Tools that name the model, of tensors that are missing, too many, or another's.
MISFITS = [
    ('missing tensor', 'missing.pth', lambda c: dict(list(c.items())[1:]), '1 missing'),
    ('extra tensor', 'extra.pth', lambda c: {**c, 'extra': torch.ones(1)},
     '1 unexpected'),
    ('another shape', 'shape.pth',
     lambda c: {n: t.unsqueeze(0) for n, t in c.items()}, 'of another shape'),
    ('other names', 'names.pth', lambda c: {f'a.{n}': t for n, t in c.items()},
     'missing'),
]  # fmt: skip
RAW = [
    ('no bytes', 'empty.pth', 'not a complete checkpoint'),
    ('text', 'plain.pth', 'plain.pth'),
    ('zeros', 'zeros.pth', 'zeros.pth'),
    ('half of a file', 'half.pth', 'not a complete checkpoint'),
    ('a program', 'script.pth', 'script.pth'),
    ('code in a pickle', 'code.pth', 'nothing in it was run'),
    ('compressed', 'deflated.pth', 'is compressed, which torch.save never does'),
    ('a pipe', 'pipe.pth', "'{m}/pipe.pth'"),
    ('broken safetensors', 'broken.safetensors', 'not a complete checkpoint'),
]


def write(materials: Path) -> None:
    """Write the files."""
    sound = torch.load(materials / 'cls.pth')
    for _, name, change, _ in FAULTS:
        torch.save(change(sound), materials / name)
    for _, name, change, _ in MISFITS:
        torch.save({'state_dict': change(sound['state_dict'])}, materials / name)
    content = (materials / 'cls.pth').read_bytes()
    (materials / 'empty.pth').touch()
    (materials / 'plain.pth').write_text('weights\n' * 100)
    (materials / 'zeros.pth').write_bytes(bytes(len(content)))
    (materials / 'half.pth').write_bytes(content[: len(content) // 2])
    (materials / 'broken.safetensors').write_bytes(content[:100])
    torch.jit.script(torch.nn.Linear(2, 2)).save(materials / 'script.pth')
    torch.save({'state_dict': Hostile(str(materials / 'ran'))}, materials / 'code.pth')
    with (
        zipfile.ZipFile(materials / 'cls.pth') as old,
        zipfile.ZipFile(materials / 'deflated.pth', 'w', zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    os.mkfifo(materials / 'pipe.pth')


def rows() -> list[Case]:
    faults = [(what, name, sentence) for what, name, _, sentence in FAULTS] + RAW
    cases = [
        Case(what, tool, arguments.format(file=f'{{m}}/{name}'), sentence)
        for (what, name, sentence), (tool, arguments) in spread(faults, TOOLS.items())
    ]
    named = [tool for tool in TOOLS if 'official' not in tool and tool != 'train.py']
    cases += [
        Case(what, tool, TOOLS[tool].format(file=f'{{m}}/{name}'), sentence)
        for (what, name, _, sentence), tool in spread(MISFITS, named)
    ]
    return cases + [
        Case(f'resume: {what}', 'train.py', _RESUME.format(file=f'{{m}}/{name}'), name)
        for what, name, _ in faults[::2]
    ]

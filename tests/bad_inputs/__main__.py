"""Try every case, and print the table: ``PYTHONPATH=tests python -m bad_inputs``."""

import argparse
import collections
import tempfile
import time
import warnings
from pathlib import Path

from bad_inputs.cases import try_case
from bad_inputs.catalogue import CASES, write_materials


def main() -> None:
    """Print a line a case and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='', help='cases with this in their names')
    parser.add_argument('--failed', action='store_true', help='leave out the others')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    counts, as_expected, start = collections.Counter(), 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        materials = Path(folder, 'm')
        materials.mkdir()
        write_materials(materials)
        print('| what | where | answer | sentence |\n|---|---|---|---|')
        cases = [case for case in CASES if args.only in f'{case.theme} {case.name}']
        for i, case in enumerate(cases):
            out = Path(folder, f'out{i}')
            out.mkdir()
            answer = try_case(case, materials, out)
            expected = case.sentence.format(m=materials, out=out)
            good = answer.kind == 'sentence' and expected in answer.text
            counts[answer.kind] += 1
            as_expected += good
            text = answer.text if answer.kind != 'traceback' else answer.text[-1500:]
            text = text.strip().replace(folder, '').replace('|', '/')
            if not args.failed or not good:
                mark = answer.kind + '' * good + ' (another)' * (not good)
                line = ' '.join(text.split())
                print(f'| {case.what} | {case.where} | {mark} | {line} |', flush=True)
    minutes = (time.perf_counter() - start) / 60
    print(
        f'\n{len(cases)} cases: {counts["sentence"]} sentences ({as_expected} as '
        f'expected), {counts["traceback"]} tracebacks, {counts["accepted"]} accepted, '
        f'{counts["hung"]} hung; {minutes:.1f} minutes.'
    )


if __name__ == '__main__':
    main()

"""Write files whole or not at all and never over what is read; find images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmdcls.errors import MmdclsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGE_SUFFIXES: tuple[str, ...]
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff')
IMAGE_SUFFIXES += ('.webp',)
"""Endings, in lower case, of the files that OpenMMLab reads as images."""


class OverwritingError(MmdclsError, ValueError):
    """An output would spoil an input."""


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name to write to, which takes the place of ``path`` at the end.

    Missing folders are made. After an error nothing is left of the temporary file, and
    ``path`` is as it was; after a power failure too, ``path`` is the old file or the
    new one. The name ends in ``.tmp``, so that nobody takes what a killed process left
    for a finished file.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        # A full disk is told without a name, and nobody knows the temporary one.
        if error.errno and error.filename in (None, str(temporary), temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


class UnreadableFileError(MmdclsError, ValueError):
    """A file that cannot be read, or holds something else than it should."""


def read_json(path: str | os.PathLike) -> object:
    """Read a JSON file.

    Raises:
        UnreadableFileError: If it is no regular file, cannot be read, or is no JSON.
    """
    path = Path(path)
    # A reader would wait for a pipe forever, and read a device without an end.
    if path.exists() and not path.is_file():
        raise UnreadableFileError(f"'{path}' is no regular file.")
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UnreadableFileError(
            f"'{path}' cannot be read: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"'{path}' is no JSON: {error}.") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file as :func:`written_whole` does.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def write_json(path: str | os.PathLike, content: object) -> None:
    """Write ``content`` as :func:`written_whole` does.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    write_text(path, json.dumps(content, indent=1) + '\n')


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure of Matplotlib as a PNG file, as :func:`written_whole` does.

    Make figures as ``matplotlib.figure.Figure(...)``, not through pyplot: such a figure
    needs no window system, whatever backend the user has chosen.

    Returns:
        The file's path.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    with written_whole(path) as temporary:
        figure.savefig(temporary, format='png', dpi=120, bbox_inches='tight')
    return Path(path)


def markdown_table(header: Sequence, rows: Iterable[Sequence]) -> str:
    """Format a Markdown table, which ends in a line break."""
    head, *body = (
        '| ' + ' | '.join(map(markdown_text, row)) + ' |\n' for row in (header, *rows)
    )
    return ''.join([head, '|---' * len(header) + '|\n', *body])


def markdown_text(value: object) -> str:
    """Write a value in a line of Markdown, where it stays a text whatever is in it.

    Names come from files of others: a line break or ``|`` in one would break a table,
    and HTML would be shown as such.

    Example:
        >>> markdown_text('<b>')
        '&lt;b>'
    """
    return ' '.join(str(value).splitlines()).replace('|', '\\|').replace('<', '&lt;')


def markdown_facts(facts: dict) -> str:
    """Format a Markdown list of names and values, which ends in a line break."""
    return ''.join(
        f'- {name}: {markdown_text(value)}\n' for name, value in facts.items()
    )


def put_in_place(finished: str | os.PathLike, path: str | os.PathLike) -> None:
    """Give a finished file of the same file system the name ``path``.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    # A name may reach the disk before the bytes do, and then stand for an empty file.
    with open(finished, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(finished, path)


def refuse_overwriting(
    outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]
) -> None:
    """Refuse, before any work, outputs that would spoil inputs.

    Two names of one file, by links or otherwise, count as the same.

    Args:
        outputs: Files and folders that will be written; they need not exist.
        inputs: Files and folders that are read. Folders stand for everything below.

    Raises:
        OverwritingError: If an output is an input or lies in a folder that is one.
    """
    read = {_identity(Path(path)): path for path in inputs}
    for output in map(Path, outputs):
        if _identity(output) in read:
            raise OverwritingError(
                f"'{output}' is to be written, but '{read[_identity(output)]}' is the "
                'same and is to be read; name another place to write to.'
            )
        for folder in output.resolve().parents:
            if _identity(folder) in read:
                raise OverwritingError(
                    f"'{output}' is to be written, but lies in "
                    f"'{read[_identity(folder)]}', which is to be read; name another "
                    'place to write to.'
                )


def _identity(path: Path) -> tuple[int, int] | str:
    path = path.resolve()
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return status.st_dev, status.st_ino


def cache_folder() -> Path:
    """Return the folder of what mmdcls keeps: ``mmdcls`` in the user's cache folder."""
    root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(root, 'mmdcls')


def is_image(path: Path) -> bool:
    """Tell by the name whether a file in a folder is an image that OpenMMLab reads.

    A pipe, a device or a link to nowhere counts: whoever reads it says that it cannot
    be read. Hidden files are none: macOS leaves ``._photo.jpg``, which is no JPEG,
    beside ``photo.jpg``.
    """
    return (
        not path.name.startswith('.')
        and path.suffix.lower() in IMAGE_SUFFIXES
        and not path.is_dir()
    )


def list_images(folder: str | os.PathLike) -> list[Path]:
    """List the images directly in a folder, in the order of their names."""
    return sorted(path for path in Path(folder).iterdir() if is_image(path))

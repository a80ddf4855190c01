"""The kinds of image files that people bring."""

import numpy as np
from PIL import Image

WHOLE = (
    *('rgb.png', 'rgb.jpg', 'grey.png', 'grey16.png', 'palette.png', 'cmyk.jpg'),
    *('rgba.png', 'exif.jpg', 'one.png'),
)
DAMAGED = ('truncated.jpg', 'truncated.png', 'empty.jpg', 'text.png')


def write_odd_images(folder, size=(80, 60)):
    """Write a file of every kind; returns their paths by name.

    All whole ones show the same picture, brightness 40 to 120; ``exif.jpg`` lies on its
    side and says so, ``one.png`` is its first pixel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows = np.meshgrid(*(np.linspace(0, 1, side) for side in size))
    pixels = 40 + 80 * np.stack([columns, rows, 1 - columns], axis=2)
    image = Image.fromarray(pixels.astype(np.uint8))
    grey = image.convert('L')
    image.save(folder / 'rgb.png')
    image.save(folder / 'rgb.jpg', quality=95)
    grey.save(folder / 'grey.png')
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(
        folder / 'grey16.png'
    )
    image.quantize(256).save(folder / 'palette.png')
    image.convert('CMYK').save(folder / 'cmyk.jpg', quality=95)
    rgba = image.copy()
    rgba.putalpha(128)
    rgba.save(folder / 'rgba.png')
    exif = image.getexif()
    exif[0x0112] = 6  # To be turned by a quarter, clockwise.
    image.transpose(Image.Transpose.ROTATE_90).save(
        folder / 'exif.jpg', exif=exif, quality=95
    )
    image.crop((0, 0, 1, 1)).save(folder / 'one.png')
    for ending in ('jpg', 'png'):
        content = (folder / f'rgb.{ending}').read_bytes()
        (folder / f'truncated.{ending}').write_bytes(content[: len(content) * 2 // 3])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'text.png').write_bytes(b'no image')
    return {path.name: path for path in sorted(folder.iterdir())}

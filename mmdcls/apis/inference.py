"""Load a trained model, and run it on images with OpenMMLab's inferencers."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import (
    DATASETS,
    MODELS,
    TRANSFORMS,
    DefaultScope,
    init_default_scope,
)
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from torch import nn

from mmdcls.checkpoints.comparison import check_state_dict
from mmdcls.checkpoints.reading import read_checkpoint, tensors_of
from mmdcls.configs import (
    building_from,
    change_config,
    read_config,
    require_model,
    scope_of,
)
from mmdcls.converters.checkpoint_files import Checkpoint, open_checkpoint
from mmdcls.datasets.loading import (
    DEFAULT_LOADING,
    UnreadableImageError,
    displayable,
    load_whole,
    loading_of,
)
from mmdcls.errors import ConfigError
from mmdcls.files import IMAGE_SUFFIXES, OverwritingError, list_images, put_in_place

TOP_CLASSES = 5
_PICTURE_ENDINGS = ('.png', '_labels.png')


def load_trained(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    options: Mapping | None = None,
) -> tuple[Config, nn.Module, Checkpoint]:
    """Build a config's model for evaluation, with every tensor from a checkpoint.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: The checkpoint's file.
        options: Settings of the config to override, by their dotted keys.

    Returns:
        The config, the model, and what the checkpoint's file holds.

    Raises:
        ConfigError: If the config does not exist or has no model.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    cfg = read_config(str(config))
    change_config(cfg, options)
    require_model(cfg, config)
    # As mmengine's Runner does.
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with (
        building_from(cfg),
        DefaultScope.overwrite_default_scope(cfg.get('default_scope')),
    ):
        model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    expected = model.state_dict()
    source = open_checkpoint(checkpoint, prefer_ema=False, expected=expected)
    check_state_dict(
        expected, source.state_dict, source.path, f"the model of '{config}'"
    )
    model.load_state_dict(source.state_dict)
    return cfg, model, source


def make_inferencer(
    config: str | os.PathLike, checkpoint: str | os.PathLike, device: str | None = None
):
    """Build the inferencer of mmpretrain, mmseg or mmdet, as ``default_scope`` says.

    The names of the classes are the checkpoint's own; where it has none, those of the
    config's test data set.

    Args:
        config: A config file.
        checkpoint: The checkpoint's file, which has every tensor of the model.
        device: The device's name, as in PyTorch; by default a GPU where there is one.

    Returns:
        An ``ImageClassificationInferencer``, ``MMSegInferencer`` or ``DetInferencer``.

    Raises:
        ConfigError: If the config does not exist or has another ``default_scope``.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    cfg = read_config(str(config))
    scope = scope_of(cfg)
    require_model(cfg, config)
    content = read_checkpoint(checkpoint)
    # mmengine, which loads them first, takes whatever is there for tensors.
    tensors_of(content, source=checkpoint)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    loading = loading_of(cfg)
    # mmpretrain builds its pipeline in whatever scope is the current one.
    init_default_scope(scope)
    with building_from(cfg):
        inferencer = _BUILDERS[scope](cfg, str(checkpoint), device)
    expected = inferencer.model.state_dict()
    found = tensors_of(content, expected, checkpoint)
    check_state_dict(expected, found, checkpoint, f"the model of '{config}'")
    inferencer.model.load_state_dict(found)
    meta = content.get('meta', {})
    if not meta.get('dataset_meta') and not meta.get('CLASSES'):
        _name_classes(inferencer, cfg, scope)
    # What read_image needs; upstream's inferencers rewrite it or leave it out.
    inferencer.loading = loading
    return inferencer


def _classification_inferencer(cfg, checkpoint, device):
    from mmpretrain import ImageClassificationInferencer

    return ImageClassificationInferencer(cfg, pretrained=checkpoint, device=device)


def _segmentation_inferencer(cfg, checkpoint, device):
    from mmseg.apis import MMSegInferencer

    inferencer = MMSegInferencer(cfg, weights=checkpoint, device=device)
    inferencer.show_progress = False
    return inferencer


def _detection_inferencer(cfg, checkpoint, device):
    from mmdet.apis import DetInferencer

    return DetInferencer(cfg, weights=checkpoint, device=device, show_progress=False)


_BUILDERS = {
    'mmpretrain': _classification_inferencer,
    'mmseg': _segmentation_inferencer,
    'mmdet': _detection_inferencer,
}


def _name_classes(inferencer, cfg: Config, scope: str) -> None:
    dataset = cfg.test_dataloader.dataset
    with DATASETS.switch_scope_and_registry(scope) as registry:
        known = getattr(registry.get(dataset.type), 'METAINFO', {})
    meta = {**known, **(dataset.get('metainfo') or {})}
    if scope == 'mmpretrain':
        inferencer.classes = meta.get('classes')
        return
    for key in ('classes', 'palette'):
        if key in meta:
            inferencer.model.dataset_meta[key] = meta[key]


def find_images(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Expand folders to the images directly inside, in the order of their names.

    Hidden files in folders are left out; a file that is named is not.

    Raises:
        ConfigError: If a path does not exist, is no image, or a folder has none.
    """
    images = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = list_images(path)
            if not inside:
                raise ConfigError(f"The folder '{path}' has no images in it.")
            images += inside
        elif not path.is_file():
            raise ConfigError(f"The image '{path}' does not exist.")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise ConfigError(
                f"'{path}' is no image; accepted are {', '.join(IMAGE_SUFFIXES)}."
            )
        else:
            images.append(path)
    return images


def name_results(images: Iterable[Path], out_dir: Path) -> list[str]:
    """Choose the ``name`` that :func:`predict` gives the results of each image.

    Args:
        images: The image files, of one folder or of several.
        out_dir: The folder that the results go to.

    Returns:
        The images' own names, numbered where they would be the same.

    Raises:
        OverwritingError: If an image lies in ``out_dir``: a result might take its
            place, and the next run would take the results for images.
    """
    names: list[str] = []
    taken: set[str] = set()
    for image in images:
        for path in (image, image.resolve()):
            if path.parent.resolve() == out_dir.resolve():
                raise OverwritingError(
                    f"The results cannot go to '{out_dir}', where the image '{path}' "
                    'lies; name another folder.'
                )
        name, number = image.stem, 2
        while taken & {f'{name}{ending}' for ending in _PICTURE_ENDINGS}:
            name, number = f'{image.stem}-{number}', number + 1
        taken |= {f'{name}{ending}' for ending in _PICTURE_ENDINGS}
        names.append(name)
    return names


def read_image(path: str | os.PathLike, loading: dict | None = None) -> np.ndarray:
    """Read an image as a config's pipeline does.

    Args:
        path: The image file.
        loading: The config of the loading transform, as :func:`loading_of` gives it;
            None stands for ``LoadImageFromFile``.

    Returns:
        The pixels: BGR, ``(H, W, 3)``, uint8, unless ``loading`` asks for something
        else.

    Raises:
        UnreadableImageError: If the file cannot be read as an image.
    """
    load = TRANSFORMS.build(dict(loading or DEFAULT_LOADING))
    try:
        return load_whole({'img_path': str(path)}, load)['img']
    except UnreadableImageError as error:
        raise UnreadableImageError(
            f"'{path}' cannot be read as an image: {error}."
        ) from error


def predict(inferencer, image: Path, out_dir: Path, name: str) -> dict:
    """Predict one image and write ``<name>.png`` and ``<name>.json``.

    In segmentation it also writes ``<name>_labels.png``, with the label of each pixel.
    The image is read as the config's pipeline does, and drawn as it was read.

    Args:
        inferencer: An inferencer that :func:`make_inferencer` built.
        image: The image file.
        out_dir: The folder to write to, which exists.
        name: The name of the files to write, without their endings.

    Returns:
        The content of the JSON file: ``image`` and, in classification, the best
        ``classes`` with ``label``, ``class`` and ``score``; in segmentation every
        predicted one with its ``share`` of the pixels; in detection ``instances`` with
        ``label``, ``class``, ``score``, ``box`` (x1, y1, x2, y2 in pixels) and ``mask``
        (COCO's run lengths).

    Raises:
        UnreadableImageError: If the file cannot be read as an image.
    """
    pixels = read_image(image, inferencer.loading)
    run = _RUNNERS[type(inferencer).__name__]
    with tempfile.TemporaryDirectory(dir=out_dir, prefix='.') as folder:
        picture = Path(folder, 'picture.png')
        result = {'image': str(image), **run(inferencer, pixels, picture)}
        text = json.dumps(result, indent=2) + '\n'
        Path(folder, 'result.json').write_text(text)
        drawing, labels = (f'{name}{ending}' for ending in _PICTURE_ENDINGS)
        put_in_place(picture, out_dir / drawing)
        if _labels_file(picture).exists():
            put_in_place(_labels_file(picture), out_dir / labels)
        put_in_place(Path(folder, 'result.json'), out_dir / f'{name}.json')
    return result


def _labels_file(picture: Path) -> Path:
    return picture.with_name('labels.png')


def _classify(inferencer, pixels, picture):
    from mmpretrain.visualization import UniversalVisualizer

    (sample,) = inferencer(pixels, return_datasamples=True)
    UniversalVisualizer().visualize_cls(
        displayable(pixels),
        sample,
        classes=inferencer.classes,
        draw_gt=False,
        out_file=str(picture),
    )
    scores = sample.pred_score.cpu().numpy()
    best = np.argsort(-scores, kind='stable')[:TOP_CLASSES]
    return {
        'classes': [
            {**_named(label, inferencer.classes), 'score': float(scores[label])}
            for label in best
        ]
    }


def _segment(inferencer, pixels, picture):
    import mmcv

    sample = inferencer(pixels, return_datasamples=True)
    meta = inferencer.model.dataset_meta
    inferencer.visualizer.set_dataset_meta(**meta)
    draw_sample(inferencer.visualizer, pixels, sample, picture, draw_gt=False)
    labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    mmcv.imwrite(labels, str(_labels_file(picture)))
    found, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    return {
        'classes': [
            {
                **_named(found[i], meta['classes']),
                'share': float(counts[i] / counts.sum()),
            }
            for i in order
        ]
    }


def _detect(inferencer, pixels, picture):
    (sample,) = inferencer(pixels, return_datasamples=True)['predictions']
    draw_sample(inferencer.visualizer, pixels, sample, picture, draw_gt=False)
    result = inferencer.pred2dict(sample)
    classes = inferencer.model.dataset_meta['classes']
    masks = result.get('masks') or [None] * len(result['labels'])
    instances = []
    for label, score, box, mask in zip(
        result['labels'], result['scores'], result['bboxes'], masks, strict=True
    ):
        instance = {**_named(label, classes), 'score': score, 'box': box}
        if mask is not None:
            instance['mask'] = mask
        instances.append(instance)
    return {'instances': instances}


def draw_sample(
    visualizer: Visualizer,
    pixels: np.ndarray,
    sample: BaseDataElement,
    out_file: str | os.PathLike,
    **options: Any,
) -> None:
    """Draw a prediction, or what is there, over an image.

    Args:
        visualizer: One of mmseg's or mmdet's, which knows the names of the classes.
        pixels: The image as :func:`read_image` gives it.
        sample: The sample to draw.
        out_file: The image file to write.
        **options: Further arguments of the visualizer's ``add_datasample``.
    """
    visualizer.add_datasample(
        'picture', displayable(pixels), sample, out_file=str(out_file), **options
    )


_RUNNERS = {
    'ImageClassificationInferencer': _classify,
    'MMSegInferencer': _segment,
    'DetInferencer': _detect,
}


def _named(label, classes) -> dict:
    label = int(label)
    name = classes[label] if classes and label < len(classes) else str(label)
    return {'label': label, 'class': name}

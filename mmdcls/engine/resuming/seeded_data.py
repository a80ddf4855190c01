"""Data whose random transforms depend on the sample alone, not on what came before.

A worker of a DataLoader draws from generators of its own, which nobody can save and set
again. Here each sample is loaded with generators seeded for it, so that a training can
begin anywhere in an epoch, and loads the same with any number of workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, get_worker_info

from .random_states import kept_random_states

_KEPT_SETTINGS = (
    *('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn'),
    *('multiprocessing_context', 'prefetch_factor', 'persistent_workers'),
    'pin_memory_device',
)


class SeededIndex(NamedTuple):
    """An index into a data set, and the numbers that seed its random transforms."""

    index: Any
    seed: tuple[int, ...]


class SeededDataset:
    """A data set that loads a :class:`SeededIndex` with generators seeded for it.

    Everything else is the data set's own: hooks that read its ``metainfo`` or set its
    ``pipeline`` do so as without.

    Args:
        dataset: Any data set with ``__getitem__`` and ``__len__``.
    """

    def __init__(self, dataset: Any) -> None:
        self.__dict__['__wrapped__'] = dataset

    def __getattr__(self, name: str) -> Any:
        # Among these is __getitems__, which would be given seeds.
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.__dict__['__wrapped__'], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__['__wrapped__'], name, value)

    def __reduce__(self) -> tuple:
        return SeededDataset, (self.__dict__['__wrapped__'],)

    def __len__(self) -> int:
        return len(self.__dict__['__wrapped__'])

    def __getitem__(self, index: Any) -> Any:
        dataset = self.__dict__['__wrapped__']
        if not isinstance(index, SeededIndex):
            return dataset[index]
        if get_worker_info() is not None:
            seed_generators(index.seed)
            return dataset[index.index]
        # The training itself goes on with these in this process.
        with kept_random_states():
            seed_generators(index.seed)
            return dataset[index.index]


class SeededBatchSampler:
    """The batches of another batch sampler, with a seed for every sample.

    Args:
        batch_sampler: The batch sampler.
        seed: Numbers that all seeds of the process begin with.
        endless: Whether to begin the next epoch where one ends, for trainings that
            count iterations.

    Attributes:
        epoch: Goes into the seeds; set it before each epoch.
        first: The number of batches to leave out of the next iteration, once. Their
            samples are not loaded.
    """

    def __init__(
        self, batch_sampler: Any, seed: Sequence[int], endless: bool = False
    ) -> None:
        self.batch_sampler = batch_sampler
        self.seed = tuple(seed)
        self.endless = endless
        self.epoch = 0
        self.first = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'batch_sampler':
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        left_out, self.first = self.first, 0
        while True:
            number = -1
            for number, batch in enumerate(self.batch_sampler):
                if left_out:
                    left_out -= 1
                    continue
                seed = (*self.seed, self.epoch, number)
                yield [SeededIndex(i, (*seed, place)) for place, i in enumerate(batch)]
            if not self.endless or number < 0:
                return
            self.epoch += 1
            set_epoch = getattr(self.sampler, 'set_epoch', None)
            if set_epoch is not None:
                set_epoch(self.epoch)


class ResumedBatches:
    """The batches of a training that counts iterations, from where it was left.

    mmengine's ``IterBasedTrainLoop`` asks for every batch that was trained before, and
    throws it away; for these nothing is loaded.

    Args:
        dataloader: A DataLoader whose batch sampler leaves these batches out.
        trained: Their number.
    """

    def __init__(self, dataloader: DataLoader, trained: int) -> None:
        self._dataloader = dataloader
        self._trained = trained
        self._iterator: Iterator | None = None

    def __iter__(self) -> ResumedBatches:
        return self

    def __next__(self) -> Any:
        if self._trained:
            self._trained -= 1
            return None
        if self._iterator is None:
            self._iterator = iter(self._dataloader)
        return next(self._iterator)


def can_be_seeded(dataloader: DataLoader) -> bool:
    """Tell whether a DataLoader asks for samples by index, in batches."""
    return (
        not isinstance(dataloader.dataset, IterableDataset)
        and dataloader.batch_sampler is not None
    )


def seeded_dataloader(
    dataloader: DataLoader, batch_sampler: SeededBatchSampler
) -> DataLoader:
    """Return a DataLoader like another one, with seeded samples.

    Args:
        dataloader: The DataLoader of the training.
        batch_sampler: The batches, of the same data set.
    """
    # A DataLoader draws a number from its generator for every epoch, by default from
    # the one that the training uses.
    generator = torch.Generator()
    generator.manual_seed(batch_sampler.seed[0])
    return DataLoader(
        SeededDataset(dataloader.dataset),  # type: ignore[arg-type]
        batch_sampler=batch_sampler,
        generator=generator,
        **{name: getattr(dataloader, name) for name in _KEPT_SETTINGS},
    )


def rebuilt_batch_sampler(dataloader: DataLoader, settings: Any) -> Any:
    """Return the batch sampler of a DataLoader as it was before it was iterated.

    mmengine's samplers for trainings that count iterations begin once, and the workers
    of such a training ask for batches as soon as it is built.

    Args:
        dataloader: The DataLoader.
        settings: The config that it was built from; where it is none, as for a
            DataLoader that the user built, its batch sampler is returned as it is.
    """
    sampler_cfg = settings.get('sampler') if isinstance(settings, dict) else None
    if not isinstance(sampler_cfg, dict):
        return dataloader.batch_sampler
    old = getattr(dataloader.batch_sampler, 'sampler', None)
    # Without a seed, processes would agree on a new one.
    seed = getattr(old, 'seed', 0)
    sampler = DATA_SAMPLERS.build(
        dict(sampler_cfg), default_args=dict(dataset=dataloader.dataset, seed=seed)
    )
    batch_cfg = settings.get('batch_sampler')
    if batch_cfg is None:
        assert dataloader.batch_size is not None
        return BatchSampler(sampler, dataloader.batch_size, dataloader.drop_last)
    return DATA_SAMPLERS.build(
        dict(batch_cfg),
        default_args=dict(sampler=sampler, batch_size=settings['batch_size']),
    )


def seed_generators(seed: Sequence[int]) -> None:
    """Seed Python's, NumPy's and PyTorch's CPU generators.

    Args:
        seed: Any number of integers, none of them negative.
    """
    words = np.random.SeedSequence(tuple(seed)).generate_state(8)
    random.seed(words.tobytes())
    np.random.seed(words)
    # torch.manual_seed would keep a note for each GPU as long as none is in use.
    torch.default_generator.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from mmdcls.engine.resuming.seeded_data import (
    ResumedBatches,
    SeededBatchSampler,
    SeededDataset,
    SeededIndex,
    can_be_seeded,
    rebuilt_batch_sampler,
    seed_generators,
    seeded_dataloader,
)


class Noisy(Dataset):
    """Ten samples, each its index and a number of every generator."""

    metainfo = {'classes': ('a',)}
    pipeline = 'first'

    def __len__(self):
        return 10

    def __getitem__(self, index):
        numbers = [random.random(), np.random.rand(), torch.rand(1).item()]
        return torch.tensor([index, *numbers], dtype=torch.float64)


def sampler_of(dataset, batch_size=2):
    return BatchSampler(DefaultSampler(dataset, seed=0), batch_size, False)


def load(workers=0, persistent=False, first=0, epochs=2, seed=(0, 0)):
    dataset = Noisy()
    batches = SeededBatchSampler(sampler_of(dataset), seed)
    plain = DataLoader(
        dataset, batch_size=2, num_workers=workers, persistent_workers=persistent
    )
    loader = seeded_dataloader(plain, batches)
    batches.first = first
    found = []
    for epoch in range(epochs):
        batches.epoch = epoch
        batches.sampler.set_epoch(epoch)
        found.append(torch.cat(list(loader)))
    return found


def test_samples_differ_by_epoch_process_seed_and_place():
    first, second = load()
    numbers = torch.cat([first[:, 1:], second[:, 1:]])
    for other in (load(seed=(0, 1)), load(seed=(1, 0))):
        numbers = torch.cat([numbers, other[0][:, 1:]])
    assert len(numbers.unique()) == numbers.numel()


@pytest.mark.parametrize('workers, persistent', [(1, False), (2, False), (2, True)])
def test_samples_are_the_same_with_workers(workers, persistent):
    for expected, found in zip(load(), load(workers, persistent), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize('workers', [0, 2])
def test_part_of_an_epoch_is_left_out_once(workers):
    whole, after = load(), load(workers, first=3)
    assert torch.equal(after[0], whole[0][6:])
    assert torch.equal(after[1], whole[1])


def test_generators_of_the_training_are_left_alone():
    seed_generators((5,))
    expected = [random.random(), np.random.rand(), torch.rand(1)]
    seed_generators((5,))
    load()
    assert [random.random(), np.random.rand(), torch.rand(1)] == expected


def test_endless_batches_go_from_epoch_to_epoch():
    def batches(sampler, first):
        seeded = SeededBatchSampler(BatchSampler(sampler, 2, False), (0,), endless=True)
        seeded.first = first
        iterator = iter(seeded)
        return [next(iterator) for _ in range(13)]

    whole = batches(DefaultSampler(Noisy(), seed=0), 0)
    assert [batch[0].seed[1] for batch in whole] == [0] * 5 + [1] * 5 + [2] * 3
    # Shuffled anew, as mmengine does with set_epoch().
    orders = [[i.index for b in whole[k : k + 5] for i in b] for k in (0, 5)]
    assert orders[0] != orders[1] and set(orders[0]) == set(orders[1])
    assert batches(DefaultSampler(Noisy(), seed=0), 7)[:6] == whole[7:]
    whole = batches(InfiniteSampler(Noisy(), seed=0), 0)
    assert batches(InfiniteSampler(Noisy(), seed=0), 7)[:6] == whole[7:]
    assert len({i.seed for batch in whole for i in batch}) == 26


def test_endless_sampler_of_nothing_ends():
    assert list(SeededBatchSampler([], (0,), endless=True)) == []


def test_trained_batches_are_asked_for_and_not_loaded():
    dataset = Noisy()
    batches = SeededBatchSampler(sampler_of(dataset), (0, 0), endless=True)
    batches.first = 3
    loader = seeded_dataloader(DataLoader(dataset, batch_size=2), batches)
    iterator = iter(ResumedBatches(loader, 3))
    assert [next(iterator) for _ in range(3)] == [None] * 3
    assert torch.equal(next(iterator), load()[0][6:8])


def test_data_set_behaves_as_the_wrapped_one():
    dataset = Noisy()
    seeded = SeededDataset(dataset)
    assert len(seeded) == 10 and seeded.metainfo == {'classes': ('a',)}
    assert seeded[3][0] == 3
    seeded.pipeline = 'second'
    assert dataset.pipeline == 'second'
    assert not hasattr(seeded, 'nothing')
    copy = pickle.loads(pickle.dumps(seeded))
    index = SeededIndex(2, (0, 1))
    assert torch.equal(copy[index], seeded[index])


def test_batch_sampler_behaves_as_the_wrapped_one():
    batches = SeededBatchSampler(sampler_of(Noisy()), (0,))
    assert (len(batches), batches.batch_size) == (5, 2)
    assert isinstance(batches.sampler, DefaultSampler)


def test_samplers_that_have_begun_begin_anew():
    dataset = Noisy()
    sampler = InfiniteSampler(dataset, seed=3)
    loader = DataLoader(dataset, sampler=sampler, batch_size=2)
    begun = iter(sampler)
    expected = [next(begun) for _ in range(4)]
    settings = dict(sampler=dict(type='InfiniteSampler'), batch_size=2)
    found = iter(rebuilt_batch_sampler(loader, settings))
    assert [next(found), next(found)] == [expected[:2], expected[2:]]
    # Built by the user, who alone knows how.
    assert rebuilt_batch_sampler(loader, loader) is loader.batch_sampler


def test_data_without_indices_cannot_be_seeded():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    assert can_be_seeded(DataLoader(Noisy()))
    assert not can_be_seeded(DataLoader(Stream()))
    assert not can_be_seeded(DataLoader(Noisy(), batch_size=None))

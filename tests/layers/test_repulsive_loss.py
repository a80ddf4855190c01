import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmdcls.layers import DCLSConv1d, DCLSConv2d, DCLSConv3d
from mmdcls.layers.repulsive_loss import repulsion, repulsive_loss


def written_out(positions):
    """The definition with loops over kernels and pairs."""
    points = positions.flatten(1, -2).permute(1, 2, 0).tolist()
    total = 0.0
    for kernel in points:
        m, overlap = len(kernel), 0.0
        for i in range(m):
            for j in range(i + 1, m):
                pairs = zip(kernel[i], kernel[j], strict=True)
                distance = sum((a - b) ** 2 for a, b in pairs) ** 0.5
                overlap += max(0.0, 1 - distance)
        total += 2 / (m * (m - 1)) * overlap
    return total / len(points)


@settings(deadline=None, max_examples=30)
@given(
    dimensions=st.integers(1, 3),
    batch=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    count=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(dimensions, batch, count, seed):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(
        dimensions, *batch, count, dtype=torch.float64, generator=generator
    )
    assert float(repulsion(positions)) == pytest.approx(written_out(positions))


def test_gradcheck():
    positions = torch.randn(2, 3, 1, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(repulsion, positions)


def test_elements_in_one_place_have_a_finite_gradient():
    positions = torch.zeros(2, 3, 1, 4, requires_grad=True)
    loss = repulsion(positions)
    loss.backward()
    assert float(loss) == 1
    assert torch.isfinite(positions.grad).all()


def test_elements_a_pixel_apart_are_left_alone():
    positions = torch.arange(4.0).reshape(1, 1, 1, 4).requires_grad_()
    loss = repulsion(positions)
    loss.backward()
    assert float(loss) == 0
    assert positions.grad.abs().max() == 0


def test_a_shared_tensor_counts_once_and_the_mean_is_squared():
    first = DCLSConv2d(4, 4, 5, 7, groups=4)
    sharing = DCLSConv2d(4, 4, 5, 7, groups=4, positions=first.positions)
    other = DCLSConv2d(4, 4, 6, 7)
    model = nn.Sequential(first, sharing, other)
    mean = (repulsion(first.positions) + repulsion(other.positions)) / 2
    assert float(repulsive_loss(model)) == pytest.approx(float(mean) ** 2)


@pytest.mark.parametrize('layer', [DCLSConv1d, DCLSConv3d])
def test_other_dimensions(layer):
    model = layer(2, 2, 3, 5)
    with torch.no_grad():
        model.positions.mul_(0.1)  # So near to each other that all pairs overlap.
    expected = written_out(model.positions)
    assert expected > 0.3
    assert float(repulsive_loss(model)) == pytest.approx(expected**2)


def test_errors():
    with pytest.raises(ValueError, match='at least 2, not 1'):
        repulsive_loss(DCLSConv2d(2, 2, 1, 5))
    with pytest.raises(ValueError, match='Linear has none'):
        repulsive_loss(nn.Linear(1, 1))

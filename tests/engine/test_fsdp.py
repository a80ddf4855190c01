"""Positions of models that FSDP cuts; the checks are in helpers/sharded_training.py."""

import pytest
import torch
from helpers.sharded_training import check_all, in_two_processes

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='for machines without GPU'
)


@pytest.mark.slow
def test_positions_of_a_model_in_pieces(tmp_path):
    in_two_processes(check_all, tmp_path)

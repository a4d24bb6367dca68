"""Task shares are size ** exponent over their sum, also where the exponent is annealed over epochs (PALs)."""

import numpy as np
import pytest

from rocl.data.batches import proportions

ROMANIAN = (4088, 11000, 21719)  # redv2, laroseda, moroco


@pytest.mark.parametrize(
    "exponent, shares",
    [
        (1.0, (0.111066, 0.298856, 0.590078)),
        (0.75, (0.151507, 0.318305, 0.530187)),
        (0.5, (0.202211, 0.331700, 0.466089)),
        (0.2, (0.276587, 0.337138, 0.386275)),
        (0.0, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_shares_of_the_romanian_tasks(exponent, shares):
    assert proportions(ROMANIAN, exponent) == pytest.approx(shares, abs=1e-6)


def test_shares_of_sizes_far_apart():
    assert proportions((4088, 67349, 120000), 0.75) == pytest.approx((0.045896, 0.375308, 0.578796), abs=1e-6)


def test_shares_are_an_array_that_sums_to_one():
    for exponent in (0.0, 0.3, 0.75, 1.0):
        shares = proportions((1, 10**9, 7), exponent)
        assert isinstance(shares, np.ndarray) and shares.sum() == pytest.approx(1.0)

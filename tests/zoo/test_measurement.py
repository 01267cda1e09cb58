import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from certisolve_zoo.pdes.measurement import measure


@given(st.integers(1, 7), st.integers(1, 20))
def test_without_noise_every_strideth_state_is_seen(stride, num_times):
    trajectory = np.arange(2.0 * num_times * 3).reshape(2, num_times, 3)
    seen = measure(np.random.default_rng(0), trajectory, noise=0.0, stride=stride)
    np.testing.assert_array_equal(seen, trajectory[:, ::stride])


def test_the_noise_has_the_given_deviations():
    noise = np.array([0.02, 1.0])
    seen = measure(np.random.default_rng(1), np.ones((10, 2000, 2)), noise=noise)
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), 1.0, atol=0.03)
    np.testing.assert_allclose(seen.std(axis=(0, 1)), noise, rtol=0.03)

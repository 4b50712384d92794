"""Image scores on closed forms, their laws under the null, and what they say of whole sets."""

import math

import pytest
import scipy.linalg
import torch

from wgflow.metrics.fidelity import (
    FEATURE_METRICS,
    Neighbourhoods,
    feature_scores,
    fidelity,
    fitted,
    frechet_distance,
    kernel_distance,
)
from wgflow.metrics.samples import halves, with_floor

F64 = torch.float64


FEW = FEATURE_METRICS | {"neighbourhoods": Neighbourhoods(2)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(seed, n=60, dim=3):
    return torch.randn(n, dim, generator=seeded(seed), dtype=F64)


def correlated(seed, n, dim):
    return cloud(seed, n, dim) @ cloud(seed + 100, dim, dim) + cloud(seed + 200, 1, dim)


# Fréchet ---------------------------------------------------------------------------------------


def test_frechet_of_a_translation_is_its_squared_length():
    x, shift = cloud(0), torch.tensor([0.3, -0.4, 1.2], dtype=F64)
    assert float(frechet_distance(x + shift, x)) == pytest.approx(1.69, rel=1e-9)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_frechet_of_a_scaled_cloud_is_the_change_of_its_deviations(factor):
    x = cloud(0)
    variance = float(x.var(0).sum())
    scaled = float(frechet_distance(factor * (x - x.mean(0)) + x.mean(0), x))
    assert scaled == pytest.approx((factor - 1) ** 2 * variance, rel=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 10, 40])
def test_frechet_is_the_published_formula(dim):
    x, y = correlated(0, 120, dim), correlated(1, 90, dim)
    covariances = [torch.cov(side.T).reshape(dim, dim).numpy() for side in (x, y)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = float((x.mean(0) - y.mean(0)).square().sum())
    expected = shift + float((covariances[0] + covariances[1] - 2 * root).trace())
    assert float(frechet_distance(x, y)) == pytest.approx(expected, rel=1e-6)


def test_frechet_is_zero_against_itself_even_where_features_repeat():
    x = correlated(0, 200, 20)
    x = torch.cat([x, x[:, :5], torch.ones(200, 1, dtype=F64)], 1)
    assert 0 <= float(frechet_distance(x, x)) < 1e-9 * float(x.var(0).sum())


def test_a_gaussian_is_fitted_in_one_pass_without_losing_digits():
    x = cloud(0, 1000, 4) + 1e6
    law = fitted(x, chunk=7)
    torch.testing.assert_close(law.mean, x.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(law.covariance, torch.cov(x.T), rtol=1e-8, atol=1e-8)


def test_frechet_bias_falls_as_one_over_n():
    def mean_score(n):
        pairs = [(cloud(2 * i, n, 5), cloud(2 * i + 1, n, 5)) for i in range(60)]
        return sum(float(frechet_distance(*pair)) for pair in pairs) / 60

    assert mean_score(200) / mean_score(800) == pytest.approx(4, rel=0.2)


# Kernel ----------------------------------------------------------------------------------------


def kernel(a, b):
    return (float(a @ b) / len(a) + 1) ** 3


def test_kernel_distance_is_the_mean_over_distinct_pairs():
    x, y = cloud(0, 4, 2), cloud(1, 5, 2) + 1
    within = [
        sum(kernel(a, b) for i, a in enumerate(side) for j, b in enumerate(side) if i != j)
        / (len(side) * (len(side) - 1))
        for side in (x, y)
    ]
    between = sum(kernel(a, b) for a in x for b in y) / 20
    expected = sum(within) - 2 * between
    assert float(kernel_distance(x, y).value) == pytest.approx(expected, rel=1e-12)


def kernel_draws(sizes, shift, count, seed=0, dim=1):
    """Bounded points, since the sixth powers in the variance need many normal ones."""
    generator = seeded(seed)
    draws = [2 * torch.rand(count, n, dim, generator=generator, dtype=F64) - 1 for n in sizes]
    found = [kernel_distance(x, y + shift) for x, y in zip(*draws, strict=True)]
    return torch.stack([e.value for e in found]), torch.stack([e.error for e in found])


def exact_kernel(shift):
    """``Σ_p C(3,p) (E X^p - E Y^p)²`` for X uniform on ±1 and Y = X + shift."""
    second, third = 1 / 3 + shift**2, shift + shift**3
    return 3 * shift**2 + 3 * (second - 1 / 3) ** 2 + third**2


@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize("sizes", [(4, 4), (5, 12)])
def test_kernel_distance_is_unbiased(sizes, shift):
    values, _ = kernel_draws(sizes, shift, 2000)
    z = (values.mean() - exact_kernel(shift)) / values.std() * math.sqrt(2000)
    assert abs(float(z)) < 4


@pytest.mark.parametrize("sizes", [(100, 100), (60, 200)])
@pytest.mark.parametrize(("shift", "dim", "most"), [
    (0.0, 1, 1.6),  # between samples of one law and few features the error is too large
    (0.0, 30, 1.15),
    (0.1, 1, 1.15),
    (1.0, 1, 1.15),
])  # fmt: skip
def test_kernel_error_is_the_deviation_over_draws(sizes, shift, dim, most):
    values, errors = kernel_draws(sizes, shift, 600, seed=1, dim=dim)
    assert 0.9 < float(errors.square().mean().sqrt() / values.std()) < most
    covered = ((values - exact_kernel(shift)).abs() < 1.96 * errors).double().mean()
    assert float(covered) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 600)


def test_kernel_distance_does_not_know_how_many_images_there_are():
    small, large = (kernel_draws((n, n), 0.5, 300)[0] for n in (10, 60))
    error = math.hypot(float(small.std()), float(large.std())) / math.sqrt(300)
    assert abs(float(small.mean() - large.mean())) < 4 * error


# Invariances -----------------------------------------------------------------------------------

CHUNKED = [
    lambda x, y, chunk: frechet_distance(x, y, chunk=chunk),
    lambda x, y, chunk: kernel_distance(x, y, chunk=chunk).value,
    lambda x, y, chunk: kernel_distance(x, y, chunk=chunk).error,
]


@pytest.mark.parametrize("score", CHUNKED)
def test_chunks_order_and_rotations_change_nothing(score):
    x, y = correlated(0, 61, 4), correlated(1, 47, 4)
    whole = float(score(x, y, 1024))
    rotation = torch.linalg.qr(cloud(5, 4, 4)).Q
    assert float(score(x, y, 10)) == pytest.approx(whole, rel=1e-9)
    shuffled = x[torch.randperm(61, generator=seeded(3))]
    assert float(score(shuffled, y.flip(0), 1024)) == pytest.approx(whole, rel=1e-9)
    assert float(score(x @ rotation, y @ rotation, 1024)) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("score", CHUNKED)
def test_scores_are_symmetric_and_in_float64(score):
    x, y = correlated(0, 61, 4).float(), correlated(1, 47, 4).float()
    assert score(x, y, 1024).dtype == F64
    assert float(score(x, y, 1024)) == pytest.approx(float(score(y, x, 1024)), rel=1e-9)


# The table of scores -----------------------------------------------------------------------------

NAMES = ["frechet", "kernel", "precision", "recall", "density", "coverage"]


def pictures(seed, n=120, top=1.0):
    return top * torch.rand(n, 1, 2, 2, generator=seeded(seed))


def flat(images):
    return images.flatten(1)


def test_scores_have_stable_names():
    scores = fidelity(pictures(0), pictures(1), flat, second_reference=pictures(2))
    assert set(scores) == {*NAMES, "kernel_error", *(f"{name}_floor" for name in NAMES)}
    assert all(type(value) is float for value in scores.values())


def test_there_is_no_frechet_distance_of_as_few_images_as_features():
    scores = fidelity(
        pictures(0, 4), pictures(1, 4), flat, second_reference=pictures(2, 4), metrics=FEW
    )
    assert set(scores) == {*NAMES[1:], "kernel_error", *(f"{name}_floor" for name in NAMES[1:])}
    scores = fidelity(
        pictures(0, 5), pictures(1, 5), flat, second_reference=pictures(2, 5), metrics=FEW
    )
    assert {"frechet", "frechet_floor"} < set(scores)


def test_a_floor_is_the_score_of_real_images_in_the_place_of_samples():
    samples, reference, second = pictures(0, 90, 0.8), pictures(1), pictures(2)
    scores = fidelity(samples, reference, flat, second_reference=second, chunk=7)
    direct = feature_scores(flat(samples), flat(reference))
    floors = feature_scores(flat(second[:90]), flat(reference))
    for name in NAMES:
        assert scores[name] == pytest.approx(direct[name], rel=1e-9)
        assert scores[f"{name}_floor"] == pytest.approx(floors[name], rel=1e-9)
    scored = with_floor(frechet_distance, flat(samples), flat(reference), flat(second))
    assert scored == (scores["frechet"], scores["frechet_floor"])


def test_one_reference_set_is_split_into_disjoint_halves():
    samples, reference = pictures(0, 60), pictures(1)
    first, second = halves(reference, seed=3)
    split = fidelity(samples, reference, flat, seed=3)
    assert split == fidelity(samples, first, flat, second_reference=second)


def test_dim_images_score_worse_than_their_floors_and_real_ones_like_them():
    real = fidelity(pictures(0, 400), pictures(1, 400), flat, second_reference=pictures(2, 400))
    dim = fidelity(
        pictures(0, 400, 0.5), pictures(1, 400), flat, second_reference=pictures(2, 400)
    )
    assert dim["frechet"] > 10 * dim["frechet_floor"]
    assert dim["kernel"] > 5 * dim["kernel_error"]
    assert max(dim["recall"], dim["coverage"]) < 0.6 * dim["coverage_floor"]
    assert abs(real["kernel"]) < 4 * real["kernel_error"]
    for name in ("precision", "recall", "density", "coverage"):
        assert real[name] == pytest.approx(real[f"{name}_floor"], abs=0.15)


# Errors ----------------------------------------------------------------------------------------

X = torch.zeros(9, 3)
ERRORS = [
    (lambda: frechet_distance(X[:3], X), "4 images or more for 3 features: got 3"),
    (lambda: frechet_distance(X, X[:3]), "4 images or more for 3 features: got 3"),
    (lambda: frechet_distance(X, X[:, :2]), r"the shape \(2,\) of the reference: got \(3,\)"),
    (lambda: frechet_distance(X * math.nan, X), "must be finite: got 9 that are not, and 0"),
    (lambda: kernel_distance(X[:2], X), "3 images or more for 3 features: got 2"),
    (lambda: kernel_distance(X[0], X), r"shape \(images, features\): got \(3,\)"),
    (
        lambda: fidelity(pictures(0, 61), pictures(1), flat),
        "must have 61 images or more, .* got 60",
    ),
    (
        lambda: fidelity(pictures(0, 60, 1.5), pictures(1), flat),
        r"must be in \[0, 1\]: got 0\.\d+ to 1\.\d+",
    ),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()

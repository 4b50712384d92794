"""Both classifiers learn labels, repeat by their seed, and come back from their files."""

import copy
import math

import pytest
import torch
from problems import BATCH, CLASSES, bars, seeded

from wgflow.metrics.classifier import Classifier, NoisyClassifier
from wgflow.metrics.features import extract
from wgflow.storage import checkpoint


def fitted(images, labels, seed=0, epochs=6):
    return Classifier.fit(images, labels, *bars(1), epochs=epochs, batch=BATCH, seed=seed)


@pytest.fixture(scope="module")
def classifier():
    return fitted(*bars(0))


def test_bars_are_told_apart(classifier):
    images, labels = bars(2)
    assert classifier.accuracy > 0.97
    assert float((classifier.logits(images).argmax(1) == labels).double().mean()) > 0.97


def test_accuracy_is_that_of_the_test_images(classifier):
    images, labels = bars(1)
    right = (classifier.logits(images).argmax(1) == labels).double().mean()
    assert classifier.accuracy == float(right)


def test_labels_without_meaning_are_not_found():
    images, _ = bars(0)
    accuracy = fitted(images, bars(7)[1], epochs=2).accuracy
    assert abs(accuracy - 1 / CLASSES) < 4 * (0.25 * 0.75 / 320) ** 0.5 + 0.1


def test_features_are_of_unit_scale_on_training_images(classifier):
    features = extract(classifier, bars(0)[0])
    assert features.shape == (320, 128)
    assert float(features.var(0).mean()) == pytest.approx(1, abs=0.2)
    assert float(features.mean(0).abs().mean()) < 0.2


def test_features_group_by_label(classifier):
    images, labels = bars(3)
    distances = torch.cdist(*[extract(classifier, images)] * 2)
    same = labels[:, None] == labels
    assert float(distances[~same].mean()) > 1.3 * float(distances[same].mean())


def test_features_do_not_depend_on_their_batch(classifier):
    images, _ = bars(3)
    torch.testing.assert_close(extract(classifier, images, chunk=7), classifier(images))


def test_a_seed_gives_the_same_network_and_leaves_the_global_state_alone():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = fitted(*bars(0), seed=3, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(99)
    second, other = (fitted(*bars(0), seed=seed, epochs=1) for seed in (3, 4))
    images, _ = bars(3)
    assert torch.equal(first(images), second(images))
    assert not torch.equal(first(images), other(images))


def test_colours_and_other_integer_labels_will_do():
    images, labels = bars(0, 64, channels=3)
    small = Classifier.fit(images, labels.byte(), images, labels.int(), epochs=1, batch=64)
    assert extract(small, images).shape == (64, 128)


def test_save_and_load_give_equal_features(classifier, tmp_path):
    classifier.save(tmp_path / "classifier.safetensors")
    read = Classifier.load(tmp_path / "classifier.safetensors")
    images, _ = bars(3)
    assert torch.equal(read(images), classifier(images))
    assert torch.equal(read.logits(images), classifier.logits(images))
    assert read.accuracy == classifier.accuracy


def test_a_file_that_is_no_classifier_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"step": 3})
    with pytest.raises(ValueError, match=r"must hold a classifier .* got \['step'\]"):
        Classifier.load(path)
    with pytest.raises(ValueError, match="must be a checkpoint: got no such"):
        Classifier.load(tmp_path / "absent.safetensors")


IMAGES, LABELS = bars(0, 40)
ERRORS = [
    ((IMAGES * 2, LABELS), {}, r"must be in \[0, 1\]"),
    ((IMAGES, LABELS[:9]), {}, r"integers ≥ 0 of shape \(40,\): got \(9,\)"),
    ((IMAGES, LABELS.float()), {}, r"`labels` must be integers .* of torch\.float32"),
    ((IMAGES, LABELS - 1), {}, "at least -1"),
    ((IMAGES, LABELS * 0), {}, "at least two classes: got 1"),
    ((IMAGES, LABELS), {"epochs": 0}, "`epochs` must be > 0"),
    ((IMAGES, LABELS), {"batch": 41}, "`batch` must be 2 to 40: got 41"),
]


@pytest.mark.parametrize(("data", "options", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(data, options, match):
    settings = {"epochs": 6, "batch": 32, **options}
    with pytest.raises(ValueError, match=match):
        Classifier.fit(*data, *bars(1), **settings)


# Of noisy points -------------------------------------------------------------------------------


def images(seed):
    """Bars in [-1, 1]."""
    x, labels = bars(seed)
    return 2 * x - 1, labels


def noisy(x, t, seed=0):
    noise = torch.randn(x.shape, generator=seeded(seed))
    return noise.lerp(x, t)


@pytest.fixture(scope="module")
def noisy_classifier():
    return NoisyClassifier.fit(*images(0), updates=200).tested(*images(1))


def test_classes_are_told_on_the_way_and_not_at_its_beginning(noisy_classifier):
    x, labels = images(2)
    found = [noisy_classifier(noisy(x, t)).argmax(1) for t in (0.0, 0.6, 1.0)]
    right = [float((labels == each).double().mean()) for each in found]
    assert noisy_classifier.accuracy > 0.97
    assert abs(right[0] - 1 / CLASSES) < 0.15
    assert right[1] > 0.75
    assert right[2] > 0.97
    # At noise it knows that it does not know.
    surprise = -noisy_classifier(noisy(x, 0.0)).gather(1, labels[:, None]).mean()
    assert float(surprise) < math.log(CLASSES) + 0.3


def test_probabilities_sum_to_one_and_keep_the_dtype(noisy_classifier):
    x = images(2)[0][:9].double()
    p = noisy_classifier(x)
    assert p.dtype == torch.float64
    torch.testing.assert_close(p.exp().sum(1), torch.ones(9, dtype=torch.float64))


def test_its_gradient_is_smooth(noisy_classifier):
    """A gradient that has a derivative changes half as much over half the way."""
    network = copy.deepcopy(noisy_classifier.network).double()
    x = images(2)[0][:50].double()
    v = torch.randn(x.shape, generator=seeded(3), dtype=x.dtype)

    def grad(h):
        y = (x + h * v).requires_grad_()
        return torch.autograd.grad(network(y)[:, 0].sum(), y)[0]

    whole, half = ((grad(h) - grad(0.0)).flatten(1).norm(dim=1) for h in (2e-4, 1e-4))
    assert ((whole / half) - 2).abs().max() < 0.01


def test_a_seed_gives_the_same_noisy_classifier_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    x, labels = images(0)
    first, second, other = (NoisyClassifier.fit(x, labels, updates=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), other(x))


def test_save_and_load_give_equal_probabilities(noisy_classifier, tmp_path):
    noisy_classifier.save(tmp_path / "labeller.safetensors")
    read = NoisyClassifier.load(tmp_path / "labeller.safetensors")
    x, _ = images(2)
    assert torch.equal(read(x), noisy_classifier(x))
    assert (read.classes, read.accuracy) == (CLASSES, noisy_classifier.accuracy)
    checkpoint.save(tmp_path / "other", {"step": 3})
    with pytest.raises(ValueError, match=r"must hold a labeller .* got \['step'\]"):
        NoisyClassifier.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("shape", "labels", "match"),
    [
        ((BATCH, 2), torch.arange(BATCH), r"must be images .*got shape \(32, 2\)"),
        ((BATCH, 1, 8, 8), torch.zeros(BATCH, dtype=torch.int64), "at least two classes: got 1"),
    ],
)
def test_points_that_cannot_be_learned_of_are_refused(shape, labels, match):
    with pytest.raises(ValueError, match=match):
        NoisyClassifier.fit(torch.zeros(shape), labels)

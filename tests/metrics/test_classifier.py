"""The classifier learns labels, repeats by its seed, and comes back from its file."""

import pytest
import torch
from problems import BATCH, CLASSES, bars

from wgflow.metrics.classifier import Classifier
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
    with pytest.raises(ValueError, match=r"not a classifier: .* got \['step'\]"):
        Classifier.load(path)
    with pytest.raises(ValueError, match=r"expected one at .*, got none"):
        Classifier.load(tmp_path / "absent.safetensors")


IMAGES, LABELS = bars(0, 40)
ERRORS = [
    ((IMAGES * 2, LABELS), {}, r"values in \[0, 1\]"),
    ((IMAGES, LABELS[:9]), {}, r"one per image: expected shape \(40,\), got \(9,\)"),
    ((IMAGES, LABELS.float()), {}, r"Labels are integers .* of torch\.float32"),
    ((IMAGES, LABELS - 1), {}, "at least -1"),
    ((IMAGES, LABELS * 0), {}, "expected at least 2, got 1"),
    ((IMAGES, LABELS), {"epochs": 0}, "epochs >= 1 and a batch of 2 to 40, got 0 and 32"),
    ((IMAGES, LABELS), {"batch": 41}, "a batch of 2 to 40, got 6 and 41"),
]


@pytest.mark.parametrize(("data", "options", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(data, options, match):
    settings = {"epochs": 6, "batch": 32, **options}
    with pytest.raises(ValueError, match=match):
        Classifier.fit(*data, *bars(1), **settings)

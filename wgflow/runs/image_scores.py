"""Scores of sampled images by the features of a classifier, and where such features come from."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from wgflow.data.dataset import Dataset
from wgflow.data.download import data_folder
from wgflow.metrics.classifier import Classifier
from wgflow.metrics.features import Features, efficientnet, inception
from wgflow.metrics.fidelity import fidelity
from wgflow.runs.run import Run
from wgflow.training.learner import load_data

FEWEST = 12
"""Test images that features are compared on: two halves of six, of which five are neighbours."""


def image_judge(dataset: Dataset, name: str, seed: int) -> Callable[[Tensor], dict[str, float]]:
    """`image_scores` by features of that name; refused before there are samples to score."""
    if len(dataset.test) < FEWEST:
        got = len(dataset.test)
        raise ValueError(f"`features` needs {FEWEST} test images or more: got {got}.")
    features = image_features(name, dataset)
    return lambda x: image_scores(x, dataset.test, features, seed)


def image_scores(x: Tensor, test: Tensor, features: Features, seed: int = 0) -> dict[str, float]:
    """`wgflow.metrics.fidelity` of samples x, as many as half of the test images at most."""
    return fidelity(x[: (len(test) + 1) // 2].clamp(0, 1), test.clamp(0, 1), features, seed=seed)


def sharp(run: Run) -> Dataset:
    """The data of a run without the noise of its smoothing."""
    return load_data(replace(run.config, data=replace(run.config.data, smoothing=0.0)))


def image_features(name: str, dataset: Dataset) -> Features:
    """Features by name: see `evaluate`; ValueError where they are not to be had."""
    if name == "classifier":
        return classifier_of(dataset)
    if name != "efficientnet" and not Path(name).is_file():
        raise ValueError(
            "`features` must be classifier, efficientnet, or a file of Inception's weights: "
            f"got {name!r}."
        )
    try:
        return efficientnet() if name == "efficientnet" else inception(name)
    except ImportError as error:
        raise ValueError(str(error)) from error


def classifier_of(dataset: Dataset) -> Classifier:
    """The classifier of a data set's labels; trained once, and kept where fetched data are."""
    if dataset.train_labels is None or dataset.test_labels is None:
        raise ValueError(f"A classifier needs labels: {dataset.name} has none.")
    digest = hashlib.sha256(dataset.test.numpy().tobytes())
    digest.update(dataset.test_labels.numpy().tobytes())
    digest.update(str(len(dataset.train)).encode())
    file = data_folder() / f"classifier-{digest.hexdigest()[:16]}.safetensors"
    if not file.exists():
        train, test = (dataset.train, dataset.train_labels), (dataset.test, dataset.test_labels)
        file.parent.mkdir(parents=True, exist_ok=True)
        Classifier.fit(*train, *test).save(file)
    return Classifier.load(file)

"""A run that the command line trained."""

import json

import pytest
from command_line import SMALL, succeed

from wgflow.metrics.samples import SlicedWasserstein
from wgflow.runs import evaluate as evaluation


@pytest.fixture
def cheap(monkeypatch):
    """Evaluation by one distance on few lines: what is scored is the business of other tests."""
    monkeypatch.setattr(evaluation, "DISTANCES", {"sliced_w2": SlicedWasserstein(8)})


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Its folder; beside it the scores as they were after training."""
    folder = tmp_path_factory.mktemp("trained") / "moons"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    every = ("--set", "training.evaluate_every=2", "--steps", 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "DISTANCES", {"sliced_w2": SlicedWasserstein(8)})
        said = succeed("train", "moons", "--out", folder, "--seed", 5, *settings, *every)
    assert "Report: " in said
    assert "sliced_w2" in said
    scores = json.loads((folder / "scores.json").read_text())
    (folder.parent / "scores.json").write_text(json.dumps(scores))
    return folder

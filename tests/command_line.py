"""Commands in this process, what they say, and runs of a few steps for them."""

import json

import torch
from PIL import Image
from typer.testing import CliRunner

import wgflow
from wgflow.cli import app
from wgflow.cli.printing import POOR
from wgflow.config import Config, build, dumps, override
from wgflow.metrics.classifier import NoisyClassifier

SMALL = [
    *("training.batch_size=64", "training.steps=2", "energy.width=8", "energy.features=4"),
    *("scheme.dynamics.size=64", "scheme.dynamics.held_out=64", "data.size=200"),
]
TINY = [
    *('energy="unet"', "energy.widths=[4, 4]", 'scheme="energy-matching"', "data.size=200"),
    *("training.batch_size=32", "training.steps=2"),
]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def succeed(*arguments):
    """What a command says; runs of a few steps are done, and poor, which has a code of its own."""
    result = run(*arguments)
    assert result.exit_code in (0, POOR), result.output
    return result.stdout


def told(*arguments):
    return json.loads(succeed(*arguments, "--json"))


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def fit(folder, name, settings):
    return wgflow.fit(build(override({}, f'data.name="{name}"', *settings)), folder / name)


def fake_run(folder, *, scores=None, **config):
    """The folder of a run that never was, whose settings and scores can be read."""
    folder.mkdir()
    (folder / "config.toml").write_text(dumps(Config(**config)), "utf8")
    (folder / "environment.json").write_text('{"status": "finished"}', "utf8")
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores), "utf8")
    return folder


def only(label, classes=10, certainty=1e6):
    """A classifier that says ``label`` whatever it sees."""
    x = torch.zeros(classes, 1, 8, 8)
    network = NoisyClassifier.fit(x, torch.arange(classes), updates=1).network
    last = network[-1]
    last.weight.zero_()
    last.bias.copy_(certainty * torch.eye(classes)[label])
    return NoisyClassifier(network, 1.0)


def size(picture):
    with Image.open(picture) as image:
        return image.size

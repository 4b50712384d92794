"""Commands in this process, what they say, and runs of a few steps for them."""

import json

from typer.testing import CliRunner

import wgflow
from wgflow.cli import app
from wgflow.config import build, override

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
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments):
    return json.loads(succeed(*arguments, "--json"))


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def fit(folder, name, settings):
    return wgflow.fit(build(override({}, f'data.name="{name}"', *settings)), folder / name)

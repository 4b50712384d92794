"""Configurations: round trips, every kind, and refusals by message."""

import inspect
import math
import re
import tomllib
from dataclasses import fields, replace

import pytest

from wgflow.config import (
    KINDS,
    Config,
    Data,
    Training,
    build,
    dumps,
    loads,
    override,
    to_table,
)
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.network import Network
from wgflow.samplers import HMC, MALA, ULA, Sampler
from wgflow.schemes import (
    Dynamics,
    Envelope,
    Form,
    Forward,
    GradientNorm,
    InnerDescent,
    NearProximal,
    Population,
    Reverse,
    Scheme,
)

PLACES = {
    Network: "energy",
    Scheme: "scheme",
    Dynamics: "scheme.dynamics",
    Sampler: "scheme.dynamics.sampler",
    Form: "scheme.form",
    Envelope: "scheme.envelope",
}


def place(name):
    return next(where for contract, where in PLACES.items() if issubclass(KINDS[name], contract))


def value_at(config, path):
    for name in path.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_builds_with_its_defaults_and_returns(name):
    path = place(name)
    config = build(override({}, f"{path}.kind={name}"))
    found = value_at(config, path)
    default = value_at(Config(), path)
    assert found == (default if type(default) is KINDS[name] else KINDS[name]())
    assert loads(dumps(config)) == config
    assert build(override({}, f"{path}={name}")) == config


def test_every_public_choice_has_a_kind():
    from wgflow import samplers, schemes
    from wgflow.energies import mlp, noise_mlp, noise_unet, own_module, unet

    modules = (samplers, schemes, mlp, noise_mlp, unet, noise_unet, own_module)
    names = {m: getattr(m, "__all__", dir(m)) for m in modules}
    classes = [getattr(module, name) for module in names for name in names[module]]
    choices = {
        c
        for c in classes
        if inspect.isclass(c)
        and not inspect.isabstract(c)
        and issubclass(c, tuple(PLACES))
        and not c.__name__.startswith("_")
    }
    # A proposal from data has no meaning before there are data: it is no choice of the user.
    assert choices - {samplers.Independence} == set(KINDS.values())


def test_an_empty_table_is_the_default():
    assert build({}) == loads("") == Config()


def test_values_arrive():
    config = loads(
        """
        seed = 7
        dtype = "float64"
        [data]
        name = "a \\"b\\" \\\\ ü.csv"
        size = 100
        [energy]
        confined = false
        [scheme]
        form = "reverse"
        h = 1
        [scheme.envelope]
        kind = "inner-descent"
        steps = 5
        [scheme.dynamics.sampler]
        kind = "hmc"
        leapfrog = 3
        [training]
        betas = [0.5, 0.75]
        clip = 1e-1
        """
    )
    assert (config.seed, config.dtype) == (7, "float64")
    assert config.data == replace(Data(), name='a "b" \\ ü.csv', size=100)
    assert config.energy == replace(MLPSpec(), confined=False)
    assert isinstance(config.scheme, NearProximal)
    assert isinstance(config.scheme.dynamics, Population)
    assert config.scheme.form == Reverse()
    assert config.scheme.envelope == InnerDescent(steps=5)
    assert (config.scheme.h, type(config.scheme.h)) == (1.0, float)
    assert config.scheme.dynamics.sampler == HMC(leapfrog=3)
    assert config.training == replace(Training(), betas=(0.5, 0.75), clip=0.1)
    assert loads(dumps(config)) == config
    assert build(to_table(config)) == config


@pytest.mark.parametrize("name", ["x\x7f\x01\n", "😀", "none of it", "a = 1 # b", "C:\\x"])
def test_strings_survive(name):
    config = Config(data=Data(name=name))
    assert loads(dumps(config)) == config


@pytest.mark.parametrize("rate", [2.5e-308, 1e-7, 1e22, 0.1 + 0.2, 1.0])
def test_numbers_survive_to_the_last_bit(rate):
    assert (
        loads(dumps(Config(training=Training(learning_rate=rate)))).training.learning_rate == rate
    )


def test_every_default_is_visible():
    table = tomllib.loads(dumps(Config()))

    def names(record):
        return {f.name for f in fields(record)}

    assert set(table) == names(Config)
    assert set(table["training"]) == names(Training)
    assert set(table["scheme"]) == names(NearProximal) | {"kind"}
    assert set(table["scheme"]["dynamics"]) == names(Population) | {"kind"}
    assert table["scheme"]["dynamics"]["sampler"]["kind"] == "mala"


def test_choices_are_named_beside_the_kind():
    (line,) = (line for line in dumps(Config()).splitlines() if '"near-proximal"' in line)
    others = [n for n, c in KINDS.items() if issubclass(c, Scheme) and n != "near-proximal"]
    assert line == f'kind = "near-proximal"  # or {", ".join(others)}'


def test_keys_left_out_keep_the_default_of_their_place_and_another_kind_has_its_own():
    default = Config().scheme
    assert isinstance(default, NearProximal)
    same = build({"scheme": {"dynamics": {"steps": 9}}}).scheme
    assert isinstance(same, NearProximal)
    assert isinstance(default.dynamics, Population)
    assert same.dynamics == replace(default.dynamics, steps=9)
    assert build({"scheme": {"kind": "gradient-norm"}}).scheme == GradientNorm()


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("seed=3", "seed", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("training.learning_rate=.5", "training.learning_rate", 0.5),
        ("training.betas=[0.1, 0.2]", "training.betas", (0.1, 0.2)),
        ("data.name=moons", "data.name", "moons"),
        ('data.name="none.csv"', "data.name", "none.csv"),
        ("data.name=a=b.csv", "data.name", "a=b.csv"),
        ("scheme.h=none", "scheme.h", None),
        (" scheme.h = 2 ", "scheme.h", 2.0),
        ("scheme.dynamics.reaction=false", "scheme.dynamics.reaction", False),
        ("scheme.dynamics.sampler=ula", "scheme.dynamics.sampler", ULA()),
    ],
)
def test_override(assignment, path, value):
    assert value_at(build(override({}, assignment)), path) == value


def test_overrides_add_to_the_table_and_leave_it_alone():
    table = {"training": {"steps": 5, "warmup": 1}}
    assert override(table, "training.steps=6", "seed=1") == {
        "training": {"steps": 6, "warmup": 1},
        "seed": 1,
    }
    assert table == {"training": {"steps": 5, "warmup": 1}}


def test_kinds_are_set_before_their_arguments():
    late = override({}, "scheme.gamma=0.5", "scheme.dynamics.steps=2", "scheme.kind=gradient-norm")
    early = override({}, "scheme=gradient-norm", "scheme.dynamics.steps=2", "scheme.gamma=0.5")
    assert build(late) == build(early)
    scheme = build(late).scheme
    assert isinstance(scheme, GradientNorm)
    assert scheme.gamma == 0.5


def test_another_kind_drops_what_belonged_to_the_last():
    table = to_table(Config(scheme=NearProximal(form=Forward(), h=0.5)))
    assert build(override(table, "scheme.kind=gradient-norm")).scheme == GradientNorm()
    assert build(override(table, "scheme.kind=near-proximal")).scheme == build(table).scheme
    kept = override({"scheme": {"h": 0.5}}, "scheme.kind=near-proximal")
    assert kept == {"scheme": {"h": 0.5, "kind": "near-proximal"}}


def test_an_argument_of_a_bare_name():
    table = override(
        {"scheme": {"dynamics": {"sampler": "ula"}}}, "scheme.dynamics.sampler.step_size=1"
    )
    scheme = build(table).scheme
    assert isinstance(scheme, NearProximal)
    assert isinstance(scheme.dynamics, Population)
    assert scheme.dynamics.sampler == ULA(1.0)
    assert isinstance(MALA(), Sampler)


REFUSED = {
    "key of a section without its name": (
        {"steps": 3},
        "No such key of the configuration",
        "got 'steps'. Did you mean 'training.steps'?",
    ),
    "unknown section": ({"trainning": {}}, "No such key of the configuration", "'training'"),
    "unknown key": (
        {"training": {"step": 1}},
        "No such key of training: expected one of steps,",
        "got 'training.step'. Did you mean 'training.steps'?",
    ),
    "nothing near": ({"training": {"zzz": 1}}, "got 'training.zzz'."),
    "key of another kind": (
        {"scheme": {"kind": "gradient-norm", "trust": 1.0}},
        "No such key of gradient-norm: expected one of dynamics, gamma, inner_steps, "
        "got 'scheme.trust'.",
    ),
    "key of a kind without any": (
        {"scheme": {"form": {"kind": "reverse", "x": 1}}},
        "No such key of reverse: expected none, got 'scheme.form.x'.",
    ),
    "unknown kind": (
        {"scheme": {"dynamics": {"sampler": "malla"}}},
        "No such kind for scheme.dynamics.sampler: expected one of mala, ",
        "got 'malla'. Did you mean 'mala'?",
    ),
    "kind of another contract": (
        {"scheme": {"form": "mala"}},
        "No such kind for scheme.form: expected one of forward, reverse, got 'mala'.",
    ),
    "kind that is no name": ({"scheme": {"kind": ["mala"]}}, "No such kind for scheme:"),
    "kind of nothing": ({"data": {"kind": "moons"}}, "No such key of data"),
    "no table": ({"scheme": 3}, "expected a table or the name of a kind for scheme, got 3."),
    "no section": ({"data": "moons"}, 'expected a table for data, got "moons".'),
    "fraction for a count": (
        {"training": {"steps": 1.5}},
        "A value must suit its key: expected a whole number for training.steps, got 1.5.",
    ),
    "truth for a count": ({"seed": True}, "expected a whole number for seed, got true."),
    "count for a truth": (
        {"scheme": {"dynamics": {"reaction": 1}}},
        "expected true or false for scheme.dynamics.reaction, got 1.",
    ),
    "text for a number": (
        {"scheme": {"h": "big"}},
        'expected a number or "none" for scheme.h, got "big".',
    ),
    "none for a number": (
        {"training": {"steps": "none"}},
        'expected a whole number for training.steps, got "none".',
    ),
    "number for text": ({"dtype": 32}, "expected a string for dtype, got 32."),
    "short array": ({"training": {"betas": [0.9]}}, "expected an array of 2 for training.betas"),
    "wrong item": (
        {"training": {"betas": [0.9, "x"]}},
        'expected a number for training.betas[1], got "x".',
    ),
    "argument of a number": (
        override({}, "training.steps.x=1"),
        'expected a whole number for training.steps, got {"x": 1}.',
    ),
    "negative seed": ({"seed": -1}, "`seed` must be ≥ 0 and finite: got -1."),
    "dtype": ({"dtype": "float16"}, "No such dtype: expected one of float32, float64"),
    "device": ({"device": "gpu"}, "A device is named as in torch", "got 'gpu'."),
    "no data": ({"data": {"name": ""}}, "In [data]: Data need a source"),
    "data size": ({"data": {"size": 1}}, "In [data]: Data need spread", "got 1."),
    "test fraction": (
        {"data": {"test_fraction": 1}},
        "`test_fraction` must be above 0 and below 1: got 1.0.",
    ),
    "image size": ({"data": {"image_size": 0}}, "In [data]: `image_size` must be > 0"),
    "scaling": (
        {"data": {"scaling": "rnage"}},
        "No such scaling: expected one of coordinate, range",
        "Did you mean 'range'?",
    ),
    "flips": (
        {"data": {"flips": True, "scaling": "coordinate"}},
        "In [data]: Flips need one unit for all pixels: expected scaling range, got coordinate.",
    ),
    "width": ({"energy": {"width": 0}}, "In [energy]: `width` must be > 0"),
    "features": ({"energy": {"features": -1}}, "`features` must be ≥ 0"),
    "confinement": ({"energy": {"confinement": 0.0}}, "`confinement` must be > 0"),
    "activation": (
        {"energy": {"activation": "relu"}},
        "In [energy]: `activation` must be one of silu,",
    ),
    "array": ({"energy": {"kind": "unet", "widths": 64}}, "expected an array for energy.widths"),
    "steps": ({"training": {"steps": 0}}, "In [training]: `steps` must be > 0"),
    "rate": ({"training": {"learning_rate": math.nan}}, "`learning_rate` must be > 0"),
    "endless rate": ({"training": {"learning_rate": math.inf}}, "`learning_rate` must be > 0"),
    "batch": ({"training": {"batch_size": -5}}, "`batch_size` must be > 0", "got -5."),
    "clip": ({"training": {"clip": 0}}, "`clip` must be > 0"),
    "patience": ({"training": {"patience": 0}}, "`patience` must be > 0"),
    "warm-up": ({"training": {"warmup": -1}}, "`warmup` must be ≥ 0"),
    "average": ({"training": {"average": 1.0}}, "A running average must forget"),
    "optimizer": (
        {"training": {"optimizer": "sgd"}},
        "`optimizer` must be one of adamw, muon",
        "got 'sgd'.",
    ),
    "betas": ({"training": {"betas": [0.9, 1.5]}}, "`betas` must be between 0 and 1", "got 1.5."),
    "deep constructor": (
        {"scheme": {"dynamics": {"sampler": {"step_size": -1}}}},
        "In [scheme.dynamics.sampler]: `step_size` must be > 0 and finite: got -1.0.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal(case):
    table, *messages = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(messages[0])) as caught:
        build(table)
    for message in messages[1:]:
        assert message in str(caught.value)


def test_broken_toml_is_told_by_line():
    with pytest.raises(ValueError, match=r"A configuration is a TOML file: .*line 2"):
        loads("seed = 1\nseed = = 2")


@pytest.mark.parametrize("text", ["training.steps", "=3", "training..steps=3", ""])
def test_a_setting_is_key_and_value(text):
    with pytest.raises(ValueError, match="A setting is written key=value"):
        override({}, text)

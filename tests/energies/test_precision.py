"""Which precision ``auto`` stands for."""

from dataclasses import replace

import pytest
import torch

from wgflow.config import Config, Data, Training, build, dumps, loads, schema as settings
from wgflow.energies import precision
from wgflow.energies.precision import fast_bfloat16, halved
from wgflow.energies.unet import UNetSpec
from wgflow.runs.fit import fit
from wgflow.runs.load import load
from wgflow.schemes import EnergyMatching


@pytest.mark.parametrize(
    ("has", "fast"),
    [
        ({"avx2": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"avx2": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"neon": True, "bf16": True}, True),
        ({}, False),
    ],
)
def test_a_processor_is_fast_if_it_has_instructions(monkeypatch, has, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert fast_bfloat16("cpu") is fast


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_is_fast_from_capability_eight(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_bfloat16("cuda:0") is fast


def test_other_devices_are_not():
    assert not fast_bfloat16("mps")


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bf16-mixed"), (False, "float32")])
def test_auto_is_settled_by_the_device_and_nothing_else_is(monkeypatch, fast, dtype):
    monkeypatch.setattr(settings, "fast_bfloat16", lambda device: fast)
    assert Config(dtype="auto").settled().dtype == dtype
    assert Config(dtype="auto", seed=3).settled() == Config(dtype=dtype, seed=3)
    for other in ("float32", "float64", "bf16-mixed"):
        assert Config(dtype=other).settled() == Config(dtype=other)


def test_auto_survives_being_written():
    assert loads(dumps(build({"dtype": "auto"}))).dtype == "auto"


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bf16-mixed"), (False, "float32")])
def test_a_run_keeps_what_it_began_with(monkeypatch, tmp_path, fast, dtype):
    """Its folder tells the precision, so that it resumes on any machine to the same."""
    monkeypatch.setattr(settings, "fast_bfloat16", lambda device: fast)
    config = Config(
        data=Data("digits", smoothing=0.05, scaling="range"),
        energy=UNetSpec(widths=(8, 8)),
        scheme=EnergyMatching(),
        training=Training(steps=2, batch_size=16),
    )
    run = fit(replace(config, dtype="auto"), tmp_path / "run")
    assert run.config.dtype == dtype
    monkeypatch.setattr(settings, "fast_bfloat16", lambda device: not fast)
    assert load(tmp_path / "run").config.dtype == dtype
    same = fit(replace(config, dtype=dtype), tmp_path / "same")
    for a, b in zip(
        run.energy.state_dict().values(), same.energy.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_draws_are_in_half_precision_where_it_is_wanted_and_fast(monkeypatch, wanted, fast):
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device: fast)
    with halved(wanted):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if wanted and fast else torch.float32)

"""The benchmark of given energies: equal budgets, exact chains, scores in published units."""

import math

import numpy as np
import pytest
import torch

from benchmarks.energies import Bench, energy_w2_of_blocks, exchanged, installed
from benchmarks.energies_methods import BUDGET, AnnealedChains, samplers
from benchmarks.energies_shown import shown
from wgflow.data.targets import Gaussian
from wgflow.montecarlo.base import Counted, Problem
from wgflow.storage.folder import append_json
from wgflow.targets.catalogue import named

LIKE = torch.empty(0, 2, dtype=torch.float64)
CHAINS = {"annealed": AnnealedChains(), "HMC": samplers("gmm")["HMC"]}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_take_their_budget_and_are_exact(name):
    target = Gaussian([1.0, -1.0], [[1.0, 0.6], [0.6, 1.0]])
    start = Gaussian([0.0, 0.0], 9 * torch.eye(2, dtype=torch.float64))
    energy = Counted(target)
    found = CHAINS[name].sample(Problem(energy, start, LIKE), 2000, 151, 0)
    assert 151 - 5 < energy.evaluations / 2000 <= 151
    z = (found.x - target.mean) @ target.whiten.T
    assert z.mean(0).abs().max() < 4 / math.sqrt(2000)
    assert (z.square().mean(0) - 1).abs().max() < 4 * math.sqrt(2 / 2000)


def test_a_schedule_is_geometric_and_rests_at_one():
    betas = AnnealedChains(least=1e-2, rest=0.2, moves=2).schedule(41)
    assert len(betas) == 20
    assert betas[16:] == [1.0] * 4
    assert np.diff(np.log(betas[:17])) == pytest.approx([math.log(100) / 16] * 16)
    assert set(AnnealedChains(least=1.0).schedule(41)) == {1.0}


def test_annealed_smc_comes_first_where_others_get_its_evaluations(tmp_path):
    bench = Bench(None, tmp_path / "rows.jsonl")
    names = [c["name"] for c in bench.cases(["HMC"], ["gmm:2"], 100, 1)]
    assert names == [BUDGET, "HMC"]
    assert [c["name"] for c in bench.cases(["parallel tempering"], ["gmm:2"], 100, 1)] == [
        "parallel tempering"
    ]
    with pytest.raises(SystemExit, match="no row of annealed SMC"):
        bench.budget("gmm:2", 100, 0)
    row = {"name": BUDGET, "data": "gmm:2", "particles": 100, "seed": 0, "evaluations": 31.0}
    append_json(bench.out, row)
    assert bench.budget("gmm:2", 100, 0) == 31
    found = bench.measure("HMC", "gmm:2", 100, 0)
    assert found["evaluations"] == 31
    assert found["log_z"] is None
    assert found["share_error"] == pytest.approx(max(abs(s - 0.1) for s in found["shares"]))


def test_published_energy_distances_are_half_of_the_biased_statistic(tmp_path):
    bench, target = Bench(None, tmp_path / "rows.jsonl"), named("gmm", 2)
    x, _ = bench.exact("gmm:2", 500, 5)
    found = bench.measure(BUDGET, "gmm:2", 500, 0)
    first, second = bench.exact("gmm:2", 500, 0)
    assert not torch.equal(first, second)
    assert not torch.equal(first, x)
    floor = torch.cdist(first, second).mean() - torch.cdist(first, first).mean() / 2
    floor = float(floor - torch.cdist(second, second).mean() / 2)
    ours = found["energy_distance_floor"] / 2 + found["energy_distance_floor_published"]
    assert ours == pytest.approx(floor, rel=0.02)
    assert abs(found["log_z_lower"] - found["log_z_upper"]) < 1
    assert abs(found["log_z_off"]) < 5 * found["log_z_error"]
    assert target.known is not None
    assert f"{found['ess']:.0%}" in shown([row(found)])


def row(found):
    return {"name": BUDGET, "data": "gmm:2", "particles": 500, "seed": 0, **found}


def test_reference_draws_are_halved_and_particles_exchanged(tmp_path):
    target = named("dw4")
    draws = target.lift(target.start.sample(60, dtype=torch.float64)) + 7.0
    np.save(tmp_path / "dw4.npy", draws.reshape(60, 4, 2))
    first, second = Bench(tmp_path, tmp_path / "rows.jsonl").exact("dw4", 1000, 0)
    assert len(first) == len(second) == 30
    assert torch.cat([first, second]).reshape(60, 4, 2).mean(1).abs().max() < 1e-12
    energies = torch.cat([target.energy(first), target.energy(second)]).sort().values
    assert energies == pytest.approx(target.energy(draws).sort().values)
    again = exchanged(target, first, 3)
    found = energy_w2_of_blocks(target, again, first)
    assert found["energy_w2_blocks"] > 0
    assert found["energy_w2_blocks_floor"] > 0
    none = energy_w2_of_blocks(target, first, torch.cat([first, first]))
    assert none["energy_w2_blocks"] == pytest.approx(0, abs=1e-9)


def test_a_method_without_its_library_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.energies.find_spec", lambda name: None)
    assert installed(["HMC", "torchebm HMC"]) == ["HMC"]
    assert "torchebm HMC is left out: the module torchebm is not" in capsys.readouterr().out


def test_failures_and_published_rows_are_told():
    failed = {"name": "torchebm HMC", "data": "gmm:20", "particles": 9, "seed": 0, "error": "NaN"}
    text = shown([failed])
    assert "| NaN |" in text
    assert "WFR-JKO 0.0001, floor 6.4e-05" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1

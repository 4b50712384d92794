"""Moves between levels leave the joint distribution as it is, whatever the energy is."""

import pytest
import torch
from tilts import SPEC, seeded, tilted

from wgflow.data.mixtures import Gaussians
from wgflow.energies.joint_space import JointSpace
from wgflow.energies.mixture import NoisyMixture
from wgflow.energies.noise_mlp import NoiseMLP
from wgflow.samplers.base import iterate
from wgflow.samplers.levels import Travel

MOVES = {
    "between levels": Travel(step_size=0.0, rungs=12, redraw=False),
    "anew": Travel(step_size=0.0, rungs=0),
    "langevin": Travel(step_size=0.3, rungs=0, redraw=False, stiffness=0.1),
    "all": Travel(rungs=12, trips=3, stiffness=0.1),
    "along the flow": Travel(step_size=0.0, rungs=0, redraw=False, flow=4),
}


def exact(joint, count, seed):
    """Draws of ``exp(-E)`` by rejection from the reference, whose ratio is bounded."""
    like = torch.empty(1, 3, dtype=torch.float64)
    z, log_q = joint.reference(like, 40 * count, generator=seeded(seed))
    with torch.no_grad():
        s = joint(z) + log_q
    uniform = torch.rand(len(z), generator=seeded(seed + 1), dtype=torch.float64)
    kept = z[uniform < (s.min() - s).exp()]
    assert len(kept) > count
    return kept[torch.randperm(len(kept), generator=seeded(seed + 2))[:count]]


def functions(z):
    x, t = z[:, :-1], z[:, -1]
    parts = [*x.T, *(x**2).T, x[:, 0] * x[:, 1], t, t**2, t * x[:, 0], x.sum(1).cos()]
    return torch.stack(parts, 1)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("name", MOVES)
def test_moves_leave_the_joint_distribution_as_it_is(name, others):
    joint = JointSpace(tilted(2, size=0.2, others=others), (2,))
    flow = MOVES[name].flow
    count, rounds = (1500, 2) if flow else (6000, 12)  # of many gradients, and independent
    start = exact(joint, count, 10)
    steps = iterate(MOVES[name], joint, start, generator=seeded(3))
    for _ in range(rounds):
        state, info = next(steps)
    assert 0.2 < float(info.acceptance.mean()) <= 1
    assert float((state.x != start).any(1).double().mean()) > 0.5
    before, after = functions(exact(joint, 6000, 40)), functions(state.x)
    error = (before.var(0) / 6000 + after.var(0) / count).sqrt()
    assert float(((after.mean(0) - before.mean(0)) / error).abs().max()) < 4


def test_travellers_reach_both_ends():
    """Lifted, a trip takes about as many moves as there are rungs."""
    joint = JointSpace(tilted(2, size=0.0), (2,))
    start, _ = joint.reference(torch.empty(1, 3, dtype=torch.float64), 500, generator=seeded())
    low, high = start[:, -1].clone(), start[:, -1].clone()
    steps = iterate(MOVES["between levels"], joint, start, generator=seeded(1))
    for _ in range(60):
        t = next(steps)[0].x[:, -1]
        low, high = torch.minimum(low, t), torch.maximum(high, t)
    both = (low < 1 / 6) & (high > 5 / 6)
    assert float(both.double().mean()) > 0.75


def test_moves_along_the_flow_are_accepted_where_the_energy_is_that_of_a_heat_flow():
    """But for the error of the steps, which falls with their square."""
    joint = JointSpace(tilted(2, size=0.0), (2,))
    start, _ = joint.reference(torch.empty(1, 3, dtype=torch.float64), 150, generator=seeded())
    refused = []
    for flow in (6, 18):
        move = Travel(step_size=0.0, rungs=0, redraw=False, flow=flow)
        _, info = next(iterate(move, joint, start, generator=seeded(1)))
        refused.append(1 - float(info.acceptance.mean()))
    assert refused[1] < 0.03
    assert refused[1] < refused[0] / 2


def test_other_energies_are_refused():
    with pytest.raises(ValueError, match="`energy` must be a JointSpace"):
        Travel().init(lambda z: z.square().sum(1), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="`rungs` must be"):
        Travel(rungs=-1)


def test_moves_are_always_accepted_where_the_data_are_one_point():
    """Then both transitions are those of the heat flow itself."""
    eye = torch.eye(2, dtype=torch.float64)
    point = Gaussians(eye.new_ones(1), eye.new_zeros(1, 2), 1e-12 * eye[None])
    joint = JointSpace(NoiseMLP(SPEC, NoisyMixture([point]), point).double(), (2,))
    start, _ = joint.reference(torch.empty(1, 3, dtype=torch.float64), 500, generator=seeded())
    _, info = next(iterate(MOVES["between levels"], joint, start, generator=seeded(1)))
    inside = info.acceptance > 0  # the others would leave the ladder
    assert float(inside.double().mean()) > 0.9
    torch.testing.assert_close(info.acceptance[inside], torch.ones_like(info.acceptance[inside]))

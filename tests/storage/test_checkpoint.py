"""Checkpoints: trees come back bit for bit, and no other file is read."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wgflow.data.batches import Batches
from wgflow.energies.mlp import MLP, MLPSpec
from wgflow.samplers import HMC, MALA, KineticState
from wgflow.schemes import (
    DualScoreMatching,
    InnerDescent,
    Joint,
    MaximumLikelihood,
    NearProximal,
    Population,
)
from wgflow.storage.checkpoint import load, save


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    """Equal in type, structure and every bit."""
    if isinstance(a, torch.Tensor):
        bits = [t.reshape(-1).contiguous().view(torch.uint8) for t in (a, b)]
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*bits)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return (
            type(a) is type(b)
            and len(a) == len(b)
            and all(same(x, y) for x, y in zip(a, b, strict=True))
        )
    return type(a) is type(b) and repr(a) == repr(b)


# The named tuples of every scheme, sampler and particle that is tested.
RECORDS = (*Joint().carry_types, *DualScoreMatching().carry_types, KineticState)


def round_trip(folder, tree, records=RECORDS):
    save(folder / "c.safetensors", tree)
    return load(folder / "c.safetensors", records)


TREES = {
    "plain": {"a": None, "b": True, "c": -3, "d": 0.1 + 0.2, "e": "é", "f": float("inf")},
    "nested": [(1, [2.0, ()]), {0: {}, "0": (None,)}],
    "dtypes": [torch.arange(3).to(t) for t in (torch.float64, torch.bfloat16, torch.bool)],
    "shapes": [torch.zeros(()), torch.zeros(0, 2), torch.arange(12.0).reshape(3, 4).T[1:]],
    "special": torch.tensor([float("nan"), -0.0, float("-inf"), 1e-45]),
    "shared": [torch.ones(4)] * 2,
    "empty": {},
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_tree_comes_back_bit_for_bit(tmp_path, tree):
    assert same(round_trip(tmp_path, tree), tree)


def test_saving_does_not_follow_what_changes_later(tmp_path):
    x = torch.zeros(3)
    save(tmp_path / "c", x)
    x += 1
    assert load(tmp_path / "c", ()).sum() == 0


SCHEMES = {
    "near-proximal": NearProximal(dynamics=Population(size=16, held_out=8)),
    "frozen copy": NearProximal(dynamics=Population(size=16, held_out=0), envelope=InnerDescent()),
    "momenta": MaximumLikelihood(dynamics=Population(sampler=HMC(), size=16, held_out=8)),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_carry_comes_back_with_its_types(tmp_path, scheme):
    energy = MLP((2,), MLPSpec(width=8, depth=1, features=4), generator=generator())
    batch = torch.randn(10, 2, generator=generator())
    carry = scheme.init(energy, batch, generator=generator())
    carry = scheme.advance(energy, batch, carry, generator=generator())
    assert same(round_trip(tmp_path, carry), carry)


def test_everything_that_learning_changes_goes_on_bit_for_bit(tmp_path):
    """Saved after three updates and restored into fresh objects, the next three are the same."""

    def build():
        model = MLP((2,), MLPSpec(width=8, depth=1, features=4), generator=generator())
        optimizer = Adam(model.parameters(), lr=0.1, betas=(0.9, 0.99))
        scheduler = LambdaLR(optimizer, lambda k: 1 / (k + 1))
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        batches = Batches(torch.randn(20, 2, generator=generator(1)), 6, generator=generator(2))
        return model, optimizer, scheduler, average, batches, generator(3)

    def update(model, optimizer, scheduler, average, batches, noise):
        x = next(batches)
        optimizer.zero_grad()
        (model(x + torch.randn(x.shape, generator=noise)) ** 2 - model(x)).sum().backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)

    def state(*parts):
        return [part.state_dict() for part in parts[:-1]] + [parts[-1].get_state()]

    first, second = build(), build()
    for _ in range(3):
        update(*first)
    stored = round_trip(tmp_path, state(*first))
    for part, values in zip(second[:-1], stored[:-1], strict=True):
        part.load_state_dict(values)
    second[-1].set_state(stored[-1])
    for _ in range(3):
        update(*first)
        update(*second)
    assert same(round_trip(tmp_path, state(*first)), round_trip(tmp_path, state(*second)))


def test_a_tree_of_anything_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tensors, None.*got set"):
        save(tmp_path / "c", {"a": {1, 2}})
    with pytest.raises(ValueError, match=r"with keys str or int.*got dict"):
        save(tmp_path / "c", {1.5: 0})
    assert not list(tmp_path.iterdir())


def test_an_unknown_record_is_refused(tmp_path):
    state = MALA().init(lambda x: x.square().sum(1), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="one of Pair: got 'LangevinState'"):
        round_trip(tmp_path, state, [RECORDS[0]])


def test_a_record_of_another_version_is_refused(tmp_path):
    from typing import NamedTuple

    class LangevinState(NamedTuple):
        x: int

    with pytest.raises(ValueError, match=r"LangevinState.*got \['x'\]"):
        round_trip(tmp_path, LangevinState(1))


def test_a_record_may_lack_what_has_a_default(tmp_path):
    """Fields that were added since, at its end; others may not be missing."""
    from typing import NamedTuple

    def carry(*names):
        return NamedTuple("Carry", [(name, int) for name in names])

    (new,) = (record for record in RECORDS if record.__name__ == "Carry")
    *old, added = new._fields
    assert added in new._field_defaults
    found = round_trip(tmp_path, carry(*old)(*range(len(old))))
    assert found == new(*range(len(old)))
    with pytest.raises(ValueError, match="it is of another version"):
        round_trip(tmp_path, carry(*old[1:])(*range(len(old) - 1)))
    with pytest.raises(ValueError, match="it is of another version"):
        round_trip(tmp_path, carry(*new._fields, "more")(*range(len(old) + 2)))


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "c"
    save(path, {"x": torch.arange(100.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="must be a whole"):
        load(path, ())


def test_any_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "c"
    save(path, {"x": torch.arange(10.0), "y": 0.25})
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match="checkpoint"):
            load(path, ())


def test_foreign_files_are_refused_and_no_pickle_is_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    foreign, pickled, archive = (tmp_path / name for name in "abc")
    save_file({"x": torch.zeros(1)}, foreign)
    pickled.write_bytes(pickle.dumps(Bomb()))
    torch.save({"x": torch.zeros(1)}, archive)
    with pytest.raises(ValueError, match=re.escape("of format 'wgflow-1'")):
        load(foreign, ())
    for path in (pickled, archive):
        with pytest.raises(ValueError, match="must be a whole"):
            load(path, ())
    with pytest.raises(ValueError, match="got no such file"):
        load(tmp_path / "absent", ())
    assert not (tmp_path / "exploded").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c"
    save(path, 1)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, 2)
    assert load(path, ()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["c"]

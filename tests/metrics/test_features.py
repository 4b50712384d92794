"""Images as a network sees them, in chunks; files of weights are numbers, never code."""

import importlib
import pickle
import sys

import pytest
import safetensors.torch
import torch

from wgflow.metrics.features import ImageNetwork, efficientnet, extract, inception, load_weights


def pictures(seed=0, n=10, channels=1, size=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, size, size, generator=generator)


def flat(images):
    return images.flatten(1)


def test_images_are_seen_a_chunk_at_a_time():
    seen = []

    def features(images):
        seen.append(len(images))
        return flat(images)

    images = pictures()
    assert torch.equal(extract(features, images, chunk=4), flat(images))
    assert seen == [4, 4, 2]


def test_features_carry_no_gradient():
    layer = torch.nn.Linear(64, 2)
    assert not extract(lambda x: layer(flat(x)), pictures()).requires_grad


def test_a_network_sees_normalised_rgb():
    images = pictures()
    seen = ImageNetwork(flat, mean=(0.5, 0.0, 0.25), std=(1.0, 2.0, 0.5))(images).reshape(
        10, 3, 8, 8
    )
    torch.testing.assert_close(seen[:, 0], images[:, 0] - 0.5)
    torch.testing.assert_close(seen[:, 1], images[:, 0] / 2)
    torch.testing.assert_close(seen[:, 2], (images[:, 0] - 0.25) / 0.5)


def test_colours_are_kept_apart():
    images = pictures(channels=3)
    seen = ImageNetwork(flat, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(images)
    assert torch.equal(seen, flat(images))


def test_resizing_averages_where_it_shrinks_and_keeps_a_constant():
    plain = ImageNetwork(flat, 2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    torch.testing.assert_close(plain(torch.full((1, 1, 8, 8), 0.3)), torch.full((1, 12), 0.3))
    stripes = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(8, 2)[None, None]
    torch.testing.assert_close(plain(stripes), torch.full((1, 12), 0.25), atol=0.1, rtol=0)


# Networks from packages --------------------------------------------------------------------------


def test_efficientnet_tells_images_apart_and_not_their_chunks():
    pytest.importorskip("efficientnet_lite_pytorch")
    images = pictures(n=3, size=28)
    features = extract(efficientnet(), images)
    assert features.shape == (3, 1280)
    assert float(features.min()) >= 0  # after its last ReLU6
    assert float(features.max()) <= 6
    alone = extract(efficientnet(), images, chunk=1)
    torch.testing.assert_close(alone, features, atol=1e-4, rtol=1e-4)
    assert float((features[0] - features[1]).norm()) > 0.1 * float(features[0].norm())


def test_inception_reads_the_users_weights(tmp_path, monkeypatch):
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torch-fidelity cannot be imported: {error}")
    kind = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(kind, "load_state_dict", lambda *_: None)
        network = kind("random", ["2048"])
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    images = pictures(n=2, size=32)
    rounded = (255 * images).round().to(torch.uint8).expand(-1, 3, -1, -1)
    expected = network(rounded)[0]
    assert expected.shape == (2, 2048)
    for file in ("weights.pth", "weights.safetensors"):
        assert torch.equal(extract(inception(tmp_path / file), images), expected)


@pytest.mark.parametrize(("package", "call", "match"), [
    ("efficientnet_lite_pytorch", efficientnet, r"needs `pip install 'wgflow\[features\]'`"),
    ("torch_fidelity", lambda: inception("x"), r"needs `pip install 'wgflow\[inception\]'`"),
])  # fmt: skip
def test_a_missing_package_is_named_with_its_cure(package, call, match, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=match):
        call()


# Files of weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_weights_come_back_bit_for_bit(name, tmp_path):
    state = torch.nn.Linear(3, 2).state_dict()
    write = safetensors.torch.save_file if name.endswith("tensors") else torch.save
    write(state, tmp_path / name)
    read = load_weights(tmp_path / name)
    assert set(read) == set(state)
    assert all(torch.equal(read[key], state[key]) for key in state)


class Trap:
    ran = False

    def __reduce__(self):
        return (setattr, (Trap, "ran", True))


def test_code_in_a_file_of_weights_does_not_run(tmp_path):
    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("trap.pth", "bare.pth"):
        with pytest.raises(ValueError, match="state dict of tensors alone"):
            load_weights(tmp_path / name)
    assert not Trap.ran


@pytest.mark.parametrize("name", ["absent.pth", "short.pth", "short.safetensors", "list.pth"])
def test_files_that_hold_no_weights_are_refused(name, tmp_path):
    for short in ("short.pth", "short.safetensors"):
        (tmp_path / short).write_bytes(b"PK\x03\x04 and no more")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"state dict of tensors alone: got"):
        load_weights(tmp_path / name)


# Errors ------------------------------------------------------------------------------------------

ERRORS = [
    (lambda: extract(flat, pictures()[0]), r"\(n, channels, height, width\).* got \(1, 8, 8\)"),
    (lambda: extract(flat, pictures()[:0]), r"n ≥ 1: got \(0, 1, 8, 8\)"),
    (lambda: extract(flat, pictures().mul(255).byte()), r"must be floats .* torch\.uint8"),
    (lambda: extract(flat, 2 * pictures()), r"in \[0, 1\]: got 0\.\d+ to 1\.\d+"),
    (lambda: extract(flat, -pictures()), r"in \[0, 1\]: got -0\.\d+"),
    (lambda: extract(flat, pictures() / 0), r"in \[0, 1\]: got inf"),
    (lambda: extract(flat, pictures() * float("nan")), r"in \[0, 1\]: got nan"),
    (lambda: extract(lambda x: x, pictures()), r"shape \(10, features\): got \(10, 1, 8, 8\)"),
    (lambda: extract(lambda x: flat(x)[:3], pictures()), r"\(10, features\): got \(3, 64\)"),
    (lambda: ImageNetwork(flat)(pictures(channels=2)), "1 or 3 channels: got 2"),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()

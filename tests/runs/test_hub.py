"""Pretrained energies from folders and from a Hub that is a folder of this machine."""

import inspect
import shutil
import sys
import types

import pytest
import torch
from command_line import refused, run, succeed

import wgflow
from wgflow.report.card import push_to_hub
from wgflow.runs import hub as hubs, zoo
from wgflow.runs.hub import FILES, HubError, HuggingFace, from_pretrained


class Shelf:
    """A Hub in a folder: repositories are folders of it, and revisions are ignored."""

    def __init__(self, path):
        self.path = path
        self.asked = []

    def download(self, repository, names, revision):
        self.asked.append((repository, tuple(names), revision))
        if not (self.path / repository).is_dir():
            raise HubError(f"{repository} could not be fetched: no such repository")
        target = self.path / "cache" / repository
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (self.path / repository / name).is_file():
                shutil.copy(self.path / repository / name, target)
        return target

    def upload(self, path, repository, *, private):
        self.private = private
        shutil.copytree(path, self.path / repository, dirs_exist_ok=True)
        return f"shelf:{repository}"


@pytest.fixture(scope="module")
def shelf(runs, tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    run = wgflow.load(runs["moons"].path)
    assert push_to_hub(run, "someone/moons", pictures=False, hub=shelf) == "shelf:someone/moons"
    return shelf


def test_what_was_pushed_comes_back(runs, shelf):
    assert shelf.private
    run, back = runs["moons"], from_pretrained("someone/moons", revision="v1", hub=shelf)
    assert shelf.asked[-1] == ("someone/moons", FILES, "v1")
    x = run.dataset.test[:100]
    torch.testing.assert_close(back.energy(x), run.energy(x), rtol=0, atol=0.02)
    assert torch.equal(back.particles.x, run.particles.x)  # nothing else could be sampled from
    drawn = back.sample(50, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 2)
    assert back.normaliser.value == pytest.approx(run.normaliser.value, abs=0.01)


def test_only_data_is_fetched(shelf):
    assert {name.rpartition(".")[2] for name in FILES} == {"toml", "json", "safetensors"}
    planted = shelf.path / "someone/moons/modeling.py"
    planted.write_text("raise SystemExit('code ran')")
    back = from_pretrained("someone/moons", hub=shelf)
    assert {file.name for file in back.path.iterdir()} <= set(FILES)


def test_a_folder_comes_before_a_name_and_a_name_before_a_repository(
    runs, shelf, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    asked = len(shelf.asked)
    assert from_pretrained("mnist", hub=shelf).path == zoo.pretrained("mnist")
    assert from_pretrained(runs["moons"].path, hub=shelf).path == runs["moons"].path
    shutil.copytree(runs["moons"].path, tmp_path / "someone/moons")
    assert from_pretrained("someone/moons", hub=shelf).path.parts == ("someone", "moons")
    assert len(shelf.asked) == asked


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../up", "/opt/x", "user/", "us er/x"])
def test_what_cannot_be_a_repository_is_refused(name, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = len(shelf.asked)
    with pytest.raises(ValueError, match=r"`pretrained` must be one of .* or user/repository"):
        from_pretrained(name, hub=shelf)
    assert len(shelf.asked) == asked


def test_a_repository_without_a_run_is_refused(shelf):
    (shelf.path / "someone/else").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"must be a run, with config\.toml"):
        from_pretrained("someone/else", hub=shelf)


def fake_library(tmp_path, error=None):
    """A module with what is used of `huggingface_hub`, and the calls that it got."""
    calls = []

    def snapshot_download(repo_id, **options):
        calls.append((repo_id, options))
        if error:
            raise error
        return str(tmp_path)

    class HfApi:
        def create_repo(self, repo_id, **options):
            calls.append((repo_id, options))
            return f"https://host/{repo_id}"

        def upload_folder(self, **options):
            calls.append((options.pop("repo_id"), options))

    library = types.ModuleType("huggingface_hub")
    library.snapshot_download, library.HfApi = snapshot_download, HfApi
    return library, calls


def test_the_library_is_asked_for_those_files_and_no_others(tmp_path, monkeypatch):
    library, calls = fake_library(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    assert HuggingFace().download("a/b", FILES, "main") == tmp_path
    assert HuggingFace().upload(tmp_path, "a/b", private=True) == "https://host/a/b"
    fetched, made, sent = calls
    assert fetched == ("a/b", {"revision": "main", "allow_patterns": list(FILES)})
    assert made == ("a/b", {"private": True, "exist_ok": True})
    assert sent[1]["folder_path"] == tmp_path


def test_the_calls_are_those_of_the_real_library():
    library = pytest.importorskip("huggingface_hub")
    options = {"revision": None, "allow_patterns": []}
    inspect.signature(library.snapshot_download).bind("a/b", **options)
    inspect.signature(library.HfApi.create_repo).bind(None, "a/b", private=True, exist_ok=True)
    sent = {"repo_id": "a/b", "folder_path": ".", "commit_message": ""}
    inspect.signature(library.HfApi.upload_folder).bind(None, **sent)


def test_a_failure_is_one_line(tmp_path, monkeypatch):
    library, _ = fake_library(tmp_path, OSError("404: not found\nRequest ID: 7"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.chdir(tmp_path)
    failed = run("sample", "--pretrained", "someone/nothing")
    assert failed.exit_code == 1
    (line,) = failed.stderr.splitlines()
    assert line == "Error: someone/nothing could not be fetched: 404: not found"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"pip install 'wgflow\[hub\]'"):
        from_pretrained("someone/nothing")


def test_verbs_push_and_sample_repositories(runs, shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(hubs, "HuggingFace", lambda: shelf)
    monkeypatch.setattr("wgflow.report.card.HuggingFace", lambda: shelf)
    monkeypatch.chdir(tmp_path)
    said = succeed("push-to-hub", runs["rings"].path, "someone/rings", "--public", "--no-pictures")
    assert said.startswith("Published: shelf:someone/rings")
    assert not shelf.private
    succeed("sample", "--pretrained", "someone/rings", "-n", "7")
    assert (tmp_path / "rings.npy").is_file()
    line = refused("push-to-hub", runs["rings"].path, "rings")
    assert line == "`repository` must be user/repository: got 'rings'."

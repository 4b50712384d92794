"""The card of a published run: what it says, shows, and keeps to itself."""

import re
import tomllib

import numpy as np
import pytest
from command_line import SMALL
from PIL import Image

import wgflow
from wgflow.config import Config, Data, build, override
from wgflow.report.card import CARD, push_to_hub, render_card, without_paths
from wgflow.report.material import gather
from wgflow.storage.folder import SAMPLES, SCORES, write_json


class Folder:
    """A Hub that leaves everything in one folder."""

    def __init__(self, path):
        self.path = path

    def download(self, repository, names, revision):
        return self.path

    def upload(self, path, repository, *, private):
        path.rename(self.path)
        return repository


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("secret-place")


@pytest.fixture(scope="module")
def run(home):
    """A run of a table, as if it had been evaluated."""
    rows = np.random.default_rng(0).normal(size=(300, 3))
    table = home / "people.csv"
    np.savetxt(table, rows, delimiter=",", header="age,a|b,c", comments="")
    run = wgflow.fit(build(override({}, f'data.name="{table}"', *SMALL)), home / "run")
    write_json(run.path / SCORES, {"sliced_w2": 0.3, "sliced_w2_floor": 0.1, "nll": 4.2})
    wgflow.write_points(run.path / SAMPLES, run.dataset.test)
    return run


@pytest.fixture(scope="module")
def pushed(run, home):
    push_to_hub(run, "someone/people", hub=Folder(home / "pushed"))
    return home / "pushed"


def test_the_card_says_how_to_load_it_and_what_it_scored(run, pushed):
    card = (pushed / CARD).read_text("utf8")
    head = card.split("---")[1]
    assert "library_name: wgflow" in head
    assert 'wgflow.from_pretrained("someone/people")' in card
    assert "people.csv" in card
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert any(row.startswith("| Sliced W₂ |") for row in rows)
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}


def test_its_pictures_are_there_and_are_pictures(pushed):
    shown = re.findall(r"!\[.+\]\((.+?)\)", (pushed / CARD).read_text("utf8"))
    assert shown
    assert {str(f.relative_to(pushed)) for f in pushed.glob("pictures/*")} == set(shown)
    for file in shown:
        with Image.open(pushed / file) as picture:
            assert min(picture.size) > 100


def test_its_settings_are_those_of_the_run(run, pushed):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", (pushed / CARD).read_text("utf8"), re.S | re.M)
    assert block == (pushed / "config.toml").read_text("utf8")
    assert tomllib.loads(block)["training"]["steps"] == run.config.training.steps


def test_nothing_says_where_it_was_learned(pushed):
    for file in pushed.rglob("*.*"):
        assert b"secret-place" not in file.read_bytes(), file


def test_paths_become_names_and_names_stay():
    config = Config(data=Data("/home/me/train.csv", test="/home/me/test.csv"))
    kept = without_paths(config).data
    assert (kept.name, kept.test) == ("train.csv", "test.csv")
    assert without_paths(Config()) == Config()


def test_a_name_cannot_end_the_block_of_settings(run):
    settings = 'name = """\n````\n<script>"""\n'
    card = render_card(gather(run), "a/b", settings, {})
    assert f"`````toml\n{settings}`````" in card


def test_without_pictures_the_data_are_not_shown(run, home):
    push_to_hub(run, "a/b", pictures=False, hub=Folder(home / "plain"))
    assert not (home / "plain" / "pictures").exists()
    assert "## Pictures" not in (home / "plain" / CARD).read_text("utf8")

"""The verbs about several runs."""

import json
import math

from command_line import fake_run, succeed, told

from wgflow.config import Data


def test_list(tmp_path):
    assert "Train one" in succeed("list", tmp_path / "none")
    fake_run(tmp_path / "a", seed=4, scores={"kl": 0.125, "nll": math.pi})
    fake_run(tmp_path / "b", data=Data(name="/far/away/points.csv"))
    (tmp_path / "no run").mkdir()
    first, second = json.loads(succeed("list", tmp_path, "--json"))["runs"]
    assert (first["run"], first["seed"], first["kl"]) == (str(tmp_path / "a"), 4, 0.125)
    assert (second["data"], second["kl"]) == ("points.csv", None)
    shown = succeed("list", tmp_path)
    assert "0.125" in shown
    assert "points.csv" in shown
    assert "finished" in shown


def test_list_data(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    found = json.loads(succeed("list", "--data", "--json"))
    assert {"moons", "eight-gaussians", "digits"} <= set(found["data"])
    assert found["not_fetched"] == ["mnist", "fashion-mnist"]
    lines = succeed("list", "--data").splitlines()
    assert [line.split()[0] for line in lines] == found["data"]
    assert "mnist  (not fetched: wgflow data fetch mnist)" in lines


def test_list_energies():
    found = {row["energy"]: row for row in told("list", "--energies")["energies"]}
    assert (found["gmm"]["dim"], found["gmm"]["smallest"]) == (20, 1)
    assert (found["lj13"]["dim"], found["lj13"]["smallest"]) == (39, None)
    assert "german.data-numeric" in found["german-credit"]["file"]
    shown = [line.split() for line in succeed("list", "--energies").splitlines()]
    assert set(found) <= {words[0] for words in shown if words}
    assert ["gmm", "20", "or", "--dim"] in [words[:4] for words in shown]


def test_compare(tmp_path):
    a = fake_run(tmp_path / "a", seed=1, scores={"kl": 0.5, "kl_error": 0.01, "sliced_w2": 2.0})
    b = fake_run(tmp_path / "b", seed=2, scores={"kl": float("inf"), "sliced_w2": 1.0})
    compared = json.loads(succeed("compare", a, b, "--json"))
    assert compared["runs"][str(a)]["kl_error"] == 0.01
    assert compared["runs"][str(b)]["kl"] is None
    assert compared["differences"] == {"seed": {str(a): 1, str(b): 2}}
    shown = succeed("compare", a, b)
    assert "0.5 ± 0.01" in shown
    assert "seed" in shown


def test_a_comparison_says_what_is_wrong_with_each_run(tmp_path):
    a = fake_run(tmp_path / "a", scores={"nll": 0.5, "log_z_lower": 0.0, "log_z_upper": 5.0})
    bad = {"nll": 0.5, "log_z": 1.0, "log_z_lower": 0.0, "log_z_upper": 5.0}
    b = fake_run(tmp_path / "b", scores=bad)
    sentence = "log Z is known to within 5.0 nats only."
    shown = succeed("compare", a, b).splitlines()
    assert f"{b}: {sentence}" in shown
    said = json.loads(succeed("compare", a, b, "--json"))["alarms"]
    assert [alarm["sentence"] for alarm in said[str(b)]] == [sentence]
    assert [alarm["name"] for alarm in said[str(a)]] == ["bounds"]


def test_a_comparison_of_runs_is_a_page(trained, tmp_path):
    out = tmp_path / "compared.html"
    said = json.loads(succeed("compare", trained, trained, "--out", out, "--json"))
    assert said["report"] == str(out)
    assert out.stat().st_size > 1000

"""The report: what it says of the scores, and what a real browser makes of the page."""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from markupsafe import escape

from wgflow import config
from wgflow.energies.base import Rescaled
from wgflow.plots import Box
from wgflow.report import (
    Material,
    compare_report,
    gather,
    render,
    render_comparison,
    write_report,
)
from wgflow.report.film import motion, packed
from wgflow.report.material import Film
from wgflow.report.scores import rank, score_keys, written
from wgflow.report.template import fill
from wgflow.report.verdict import verdict
from wgflow.runs.fit import fit
from wgflow.runs.run import Run
from wgflow.training.learner import load_data

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--virtual-time-budget=15000",
    "--window-size=1100,3000",
]
SCORES = {
    "kl": 0.0043,
    "kl_error": 0.0006,
    "nll": 1.2,
    "nll_error": 0.01,
    "log_z": 3.0,
    "sliced_w2": 0.042,
    "sliced_w2_floor": 0.04,
    "w2": 0.2,
    "w2_floor": 0.21,
    "temperature": 1.01,
    "house_score": 7.0,
}
NASTY = '<script>alert("x")</script> & co'
KINDS = ("plane", "line", "table", "images")
RNG = np.random.default_rng(0)


def source(kind, path):
    if kind == "line":
        np.save(path / "line.npy", RNG.normal(size=(300, 1)))
        return path / "line.npy"
    if kind == "table":
        rows = RNG.normal(size=(300, 3))
        header = 'age,"<b>& size",weight'
        np.savetxt(path / "table.csv", rows, delimiter=",", header=header, comments="")
        return path / "table.csv"
    return {"plane": "eight-gaussians", "images": "digits"}[kind]


def make_run(path, kind="plane"):
    """A run folder as training leaves it, around a Gaussian energy."""
    name = str(source(kind, path))
    settings = config.build({"data": {"name": name, "size": 200}})
    data = load_data(settings)

    def energy(u):
        return 0.5 * u.flatten(1).square().sum(1)

    folder = path / f"run-{kind}"
    folder.mkdir()
    shape = data.event_shape
    frames = data.test[:20].numpy() + RNG.normal(size=(5, 20, *shape)) * np.linspace(
        1, 0, 5
    ).reshape(5, 1, *[1] * len(shape))
    records = [
        {"step": k, "cpu_seconds": k / 9, "kl": 1 / k, "ess": 0.8, "acceptance": 0.6}
        for k in range(1, 20)
    ]
    environment = {"wgflow": "0.1.0", "command": ["wgflow", NASTY], "status": "finished"}
    (folder / "config.toml").write_text(config.dumps(settings) + f"# {NASTY}\n")
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "scores.json").write_text(json.dumps(SCORES))
    np.savez(folder / "frames.npz", step=np.array([0, 1, 2, 5, 19]), x=frames.astype("f4"))
    np.save(folder / "samples.npy", data.train[:100].numpy())
    scaled = Rescaled(energy, data.shift, data.scale)
    return Run(folder, settings, scaled, None, None, shape, steps=19, rollbacks=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {kind: make_run(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def pages(runs):
    return {kind: render(gather(run)) for kind, run in runs.items()}


def material(**changes):
    empty = Material("a run", "moons", ("x₁", "x₂"), np.zeros((5, 2)))
    return replace(empty, **changes)


# What it says ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "grade", "words"),
    [
        (
            {"kl": 0.004, "kl_error": 0.001}, "good",
            "very close to the true density: KL(data‖model) is 0.0040 ±",
        ),
        ({"kl": 0.1}, "fair", "close to the true density, with"),
        ({"kl": 0.5}, "poor", "far from the true density"),
        ({"sliced_w2": 0.05, "sliced_w2_floor": 0.04}, "good", "1.25 × that of exact samples"),
        ({"kl": 0.001, "sliced_w2": 0.2, "sliced_w2_floor": 0.04}, "poor", "differ clearly"),
        ({"kl": 0.001, "temperature": 0.5}, "fair", "too flat: its best-fitting temperature"),
        ({"nll": 1.5}, "", "log-likelihood is 1.5 nats per point"),
        (
            {"nll": 1.5, "nll_error": 0.03, "nll_gaussian": 3.0, "nll_gaussian_error": 0.04}, "",
            "is 1.500 ± 0.030 nats per point; that of a Gaussian of the same moments is 3.000 ±",
        ),
        ({"nll": 3.5, "nll_error": 0.2, "nll_gaussian": 3.0}, "poor", "worse than that of a Gau"),
        ({"nll": 3.1, "nll_error": 0.2, "nll_gaussian": 3.0}, "", "; that of a Gaussian"),
        ({"sliced_w2": 0.04, "sliced_w2_floor": 0.04}, "good", "There is no likelihood: log Z"),
        (None, "", "not been evaluated"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_scores(scores, grade, words):
    found, sentence = verdict(material(scores=scores))
    assert found == grade
    assert words in sentence


@pytest.mark.parametrize(
    ("scores", "grade", "first"),
    [
        ({"log_z_particles": -2.0, "log_z_held_out": 18.0}, "fair", "The energy is pushed up"),
        ({"modes_density": -0.2, "modes_density_error": 0.01}, "poor", "The share of one cluster"),
    ],
)
def test_an_alarm_is_said_first_and_no_other_score_outweighs_it(scores, grade, first):
    good = {"kl": 0.004, "sliced_w2": 0.04, "sliced_w2_floor": 0.04}
    assert verdict(material(scores=good))[0] == "good"
    found, sentence = verdict(material(scores=good | scores))
    assert found == grade
    assert sentence.startswith(first)
    assert "very close to the true density" in sentence


def test_a_remark_is_said_last():
    sentence = verdict(material(scores={"sliced_w2": 0.04, "sliced_w2_floor": 0.04}))[1]
    assert sentence.startswith("Model samples are nearly as close")
    assert sentence.endswith("or says why it cannot.")


def test_the_verdict_counts_rollbacks_but_not_early_stops():
    events = [{"step": 3, "event": "rollback"}, {"step": 9, "event": "early-stop"}]
    assert "rolled back once" in verdict(material(events=events))[1]
    assert "rolled back" not in verdict(material(events=events[1:]))[1]


def test_a_score_is_written_to_the_digits_of_its_error():
    assert written({"kl": 0.01234, "kl_error": 0.00056}, "kl") == "0.01234 ± 0.00056"
    assert written({"nll": 12.345, "nll_error": 3.0}, "nll") == "12.3 ± 3.0"
    assert written({"nll": -0.5}, "nll") == "−0.5"
    assert written({"nll": -0.5, "nll_error": 0.1}, "nll") == "−0.50 ± 0.10"
    assert written({}, "nll") == "–"


def test_scores_keep_their_company_and_unknown_ones_are_shown():
    keys = score_keys(SCORES | {"log_z_lower": 2.0, "mode_error": 0.1})
    assert keys[:2] == ["kl", "nll"]
    assert keys[-1] == "house_score"
    assert "mode_error" in keys  # an error of nothing else is a score
    assert not {"kl_error", "sliced_w2_floor", "log_z_lower"} & set(keys)


@pytest.mark.parametrize(
    ("key", "tables", "marks"),
    [
        ("kl", [{"kl": 0.3}, {"kl": 0.1}], ["", "best"]),
        ("kl", [{"kl": 0.12, "kl_error": 0.01}, {"kl": 0.1, "kl_error": 0.01}], ["tied", "best"]),
        ("kl", [{"kl": float("nan")}, {"kl": 0.1}, {}], ["", "best", ""]),
        ("w2", [{"w2": 0.9, "w2_floor": 1.0}, {"w2": 0.8, "w2_floor": 1.0}], ["best", "tied"]),
        ("temperature", [{"temperature": 0.5}, {"temperature": 1.2}], ["", "best"]),
        ("log_z", [{"log_z": 1.0}, {"log_z": 2.0}], ["", ""]),
    ],
)
def test_the_best_run_and_its_ties_are_marked(key, tables, marks):
    assert rank(key, tables) == marks


# What it holds ---------------------------------------------------------------------------------


def unpacked(text):
    return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 2)


def test_particles_are_packed_within_the_box():
    box = Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]))
    points = np.array([[-1.0, 0.0], [0.0, 2.0], [1.0, 4.0], [1.1, 2.0]])
    expected = [[-32767, -32767], [0, 0], [32767, 32767], [-32768, -32768]]
    assert unpacked(packed(points, box)).tolist() == expected


def test_the_film_on_the_page_is_the_film_of_the_run(runs, pages):
    film = json.loads(
        re.findall(r'<script type="application/json">(.*?)</script>', pages["plane"])[0]
    )
    saved = np.load(runs["plane"].path / "frames.npz")
    assert film["steps"] == saved["step"].tolist()
    box = gather(runs["plane"]).view.learned.box
    shown = unpacked(film["frames"]).reshape(5, 20, 2)
    inside = (shown != -32768).all(-1)
    back = box.low + (shown / 32767 + 1) / 2 * (box.high - box.low)
    np.testing.assert_allclose(back[inside], saved["x"][inside], atol=1e-3)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_one_held_out_row_has_a_film(d):
    film = Film(np.array([0, 1]), RNG.normal(size=(2, 30, d)) + 5)
    row = np.full((1, d), 5.0)
    shown = motion(material(names=tuple("abcd"[:d]), reference=row, film=film))
    points = unpacked(shown["film"]["frames"])
    assert (points != -32768).mean() > 0.9  # within the box
    assert len(np.unique(points, axis=0)) > 50


def test_the_densities_are_those_of_the_run(runs):
    view = gather(runs["plane"]).view
    data = runs["plane"].dataset
    nodes = np.stack(np.meshgrid(*view.true.axes, indexing="ij"), -1).reshape(-1, 2)
    exact = data.target.log_prob(torch.from_numpy(nodes)).exp()
    np.testing.assert_allclose(view.true.values.ravel(), exact, rtol=1e-9)
    cell = np.prod((view.learned.box.high - view.learned.box.low) / view.learned.values.shape)
    assert view.learned.values.sum() * cell == pytest.approx(1)
    counted = gather(runs["line"]).view.true
    assert counted.values.sum() * np.diff(counted.axes[0])[0] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_small_asks_for_nothing_and_escapes_everything(kind, pages):
    page = pages[kind]
    assert len(page) < 4_000_000
    assert not re.search(r"https?://", page)
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', page)
    assert NASTY not in page
    assert str(escape(NASTY)) in page
    assert "<b>& size" not in page


def test_every_name_and_value_is_escaped(runs):
    known = gather(runs["plane"])
    nasty = replace(
        known,
        name=NASTY,
        source=NASTY,
        names=(NASTY, NASTY),
        view=known.view._replace(truth=NASTY),
        film=known.film._replace(clock=NASTY),
        scores={NASTY: 1.0, **SCORES},
        records=[{"step": 1, "cpu_seconds": 1.0, NASTY: 1.0}],
        events=[{"step": 1, NASTY: NASTY, "what": {NASTY: NASTY}}],
        config=NASTY,
        environment={NASTY: NASTY, "command": [NASTY]},
    )
    other = replace(known, source="</p>", records=[])
    for page in (render(nasty), render_comparison([nasty, other])):
        assert "<script>alert" not in page
        assert "</p>)" not in page
        assert page.count(str(escape(NASTY))) > 2


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="'material' is undefined"):
        fill("report.html", tiles=[])


SECTIONS = {
    "scores.json": "scores",
    "samples.npy": "samples",
    "frames.npz": "motion",
    "metrics.jsonl": "training",
}


@pytest.mark.parametrize(
    "names", [*([name] for name in SECTIONS), [*SECTIONS]], ids=[*SECTIONS, "all of them"]
)
def test_a_missing_file_is_named_and_leaves_no_empty_section(names, tmp_path):
    run = make_run(tmp_path)
    for each in names:
        (run.path / each).unlink()
    page = render(gather(run))
    assert f"This run has no {', '.join(names)}." in page
    for name, key in SECTIONS.items():
        assert (f'id="{key}"' in page) == (f'href="#{key}"' in page) == (name not in names)


def test_sections_are_those_with_something_to_show(pages):
    for kind, page in pages.items():
        assert "This run has no" not in page
        keys = re.findall(r'<section id="(\w+)">', page)
        assert keys == re.findall(r'<a href="#(\w+)">', page)
        assert ("density" in keys) == (kind in ("plane", "line"))
        assert "health" not in keys


def test_the_page_of_a_table_shows_its_columns_and_their_pairs(pages):
    assert "Densities of pairs of columns" in pages["table"]
    assert "Kolmogorov distance" in pages["table"]
    assert "pairs of columns" not in pages["plane"]
    assert "Histograms of columns" not in pages["images"]


def test_rollbacks_are_listed(tmp_path):
    run = make_run(tmp_path)
    event = {"step": 7, "event": "rollback", "what": "ess <collapse>", "metrics": {"kl": 1.0}}
    (run.path / "events.jsonl").write_text(json.dumps(event) + "\n")
    page = render(gather(run))
    assert "<td>7</td><td>rollback</td><td>ess &lt;collapse&gt;</td>" in page


def test_a_comparison_says_when_data_differ_and_needs_two_runs(runs):
    materials = [gather(runs[kind]) for kind in ("plane", "line")]
    assert "trained on different data" in render_comparison(materials)
    with pytest.raises(ValueError, match="`materials` must hold at least 2 runs: got 1"):
        render_comparison(materials[:1])


def test_a_comparison_says_what_is_wrong_with_each_run(runs):
    good = gather(runs["table"])
    bad = replace(good, name="bad", scores={"nll": 1.0, "modes_samples": 0.5})
    page = render_comparison([good, bad])
    sentence = "bad: The share of one cluster of the data is off by +0.50 ± 0.00 in model samples."
    assert f'<p class="verdict poor">{sentence}</p>' in page
    assert page.count('class="verdict') == 1
    assert 'id="densities"' not in page


def test_a_trained_run_gets_its_report_in_its_folder(tmp_path):
    dynamics = {"kind": "population", "size": 64, "held_out": 64}
    table = {
        "data": {"name": "moons", "size": 500},
        "energy": {"width": 8, "features": 4},
        "scheme": {"kind": "near-proximal", "dynamics": dynamics},
        "training": {"steps": 4, "batch_size": 64, "evaluate_every": 2},
    }
    run = fit(config.build(table), tmp_path / "run")
    path = write_report(run.path)
    assert path == run.path / "report.html"
    assert "True density" in path.read_text(encoding="utf-8")
    assert not [file for file in run.path.iterdir() if file.name.startswith(".report")]
    pair = compare_report([run.path, run.path], tmp_path / "pair.html")
    assert "Comparison of 2 runs" in pair.read_text(encoding="utf-8")


# What a browser makes of it --------------------------------------------------------------------

RECORDER = """<script>
window.troubles = [];
const note = (text) => window.troubles.push(String(text));
window.addEventListener("error", (e) => note(e.message || e.target.outerHTML), true);
window.addEventListener("unhandledrejection", (e) => note(e.reason));
const cues = [];
window.IntersectionObserver = class extends IntersectionObserver {
  constructor(cue, options) { super(cue, options); cues.push(cue); }
};
document.addEventListener("securitypolicyviolation", (e) => note("blocked " + e.blockedURI));
</script>"""
PROBE = """<script>
window.addEventListener("load", () => setTimeout(() => {
  const ink = (canvas) => {
    const rgba = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < rgba.length; i += 4) {
      sum = (31 * sum + rgba[i] + 3 * rgba[i + 2]) % 1000003;
    }
    return sum;
  };
  const players = [...document.querySelectorAll(".player")].map((player) => {
    const slider = player.querySelector("input"), canvas = player.querySelector("canvas");
    const at = (k) => {
      slider.value = k;
      slider.dispatchEvent(new Event("input"));
      return [ink(canvas), player.querySelector("output").textContent];
    };
    const ends = [at(0), at(Number(slider.max))];
    player.querySelector("button").click();
    cues.forEach((cue) => cue([{ isIntersecting: true }])); // in sight only after the click
    const during = player.querySelector("button").textContent;
    return { ends, during, player };
  });
  const images = [...document.images].map((image) => image.naturalWidth);
  setTimeout(() => {
    const found = {
      troubles, images, requests: performance.getEntriesByType("resource").map((r) => r.name)
        .filter((name) => !name.startsWith("data:")),
      wide: document.documentElement.scrollWidth - window.innerWidth,
      players: players.map((p) => ({ ends: p.ends, during: p.during,
        after: p.player.querySelector("button").textContent })),
    };
    document.body.dataset.found = JSON.stringify(found);
  }, 9000);
}, 500));
</script>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens a page in headless Chromium, and returns what a probe in it found."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"The report is not tested in a browser: none of {', '.join(BROWSERS)} found.")

    def open_page(page):
        folder = tmp_path_factory.mktemp("browser")
        probed = page.replace("<head>", f"<head>{RECORDER}").replace("</body>", f"{PROBE}</body>")
        (folder / "page.html").write_text(probed, encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
        done = subprocess.run(
            [*command, (folder / "page.html").as_uri()],
            capture_output=True, text=True, timeout=180, check=True,
        )  # fmt: skip
        found = re.search(r'data-found="([^"]*)"', done.stdout)
        assert found, f"The probe left nothing: {done.stdout[-500:]} {done.stderr[-2000:]}"
        return json.loads(html.unescape(found[1]))

    return open_page


def check(found):
    """What must hold in a browser: pictures shown, no error, no request, nothing cut off."""
    assert found["troubles"] == []
    assert found["requests"] == []
    assert found["images"]
    assert min(found["images"]) > 0
    assert found["wide"] <= 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_shows_the_page_and_plays_the_particles(kind, pages, browse):
    found = browse(pages[kind])
    check(found)
    assert len(found["players"]) == (kind != "images")
    for player in found["players"]:
        (first, start), (last, end) = player["ends"]
        assert first != last  # the particles moved
        assert (start, end) == ("step 0", "step 19")
        assert (player["during"], player["after"]) == ("Pause", "Play")  # it plays, and it ends


def test_a_browser_shows_a_comparison(runs, browse):
    check(browse(render_comparison([gather(runs["plane"])] * 2)))


@pytest.mark.parametrize(
    ("old", "new", "sees"),
    [
        ("base64,iVBOR", "base64,AAAA", lambda found: 0 in found["images"]),
        ('querySelectorAll(".player")', "none()", lambda found: "none" in found["troubles"][0]),
        ("<footer>", '<img src="https://a.invalid/x.png"><footer>', lambda found: blocked(found)),
        (
            "<footer>",
            '<div style="width: 3000px">w</div><footer>',
            lambda found: found["wide"] > 0,
        ),
    ],
    ids=["broken image", "broken script", "request", "too wide"],
)
def test_the_browser_test_fails_on_a_broken_page(old, new, sees, pages, browse):
    assert old in pages["plane"]
    found = browse(pages["plane"].replace(old, new, 1))
    assert sees(found)
    with pytest.raises(AssertionError):
        check(found)


def blocked(found):
    return any(trouble.startswith("blocked https://a.invalid") for trouble in found["troubles"])


def test_log_z_of_a_given_energy_is_in_the_verdict():
    scores = {"target_log_z": 1.25, "target_log_z_error": 0.1, "nll": 2.0}
    scores |= {"target_log_z_lower": 1.1, "target_log_z_upper": 1.4}
    sentence = verdict(material(scores=scores))[1]
    assert sentence.startswith("log Z of the given energy is 1.25 ± 0.10 nats, with bounds 1.10 ")
    del scores["target_log_z_upper"]
    assert "with bounds 1.10 and inf." in verdict(material(scores=scores))[1]

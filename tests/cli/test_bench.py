import json

import pytest


@pytest.mark.parametrize("load", [["--connections", "4"], ["--rate", "200"]])
def test_both_loops_measure_both_doors(call, url, load):
    result = call("bench", "double", *load, "--duration", "0.3", "--json", "--url", url)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["num_ok"] == summary["num_requests"] > 0
    assert summary["errors"] == {}
    assert 0 < summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"]
    assert summary["mean_batch_size"] >= 1


def test_the_number_of_requests_is_bounded(call, server):
    flags = ("--requests", "7", "--duration", "5", "--connections", "2", "--json")
    result = call("bench", "double", *flags, "--url", server.http)
    assert json.loads(result.stdout)["num_requests"] == 7


def test_the_table_says_which_loop_it_was(call, server):
    flags = ("--connections", "2", "--duration", "0.2", "--resolution", "x=32")
    result = call("bench", "double", *flags, "--url", server.http)
    assert result.exit_code == 0, result.output
    assert "closed loop, 2 connections" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["double", "--url", "http://example.com"], "--allow-remote"),
        (["double", "--url", "https://127.0.0.1"], "http://host:port or grpc://host:port"),
        (["double", "--resolution", "x"], "AXIS=SIZE"),
    ],
)
def test_bad_arguments_are_one_line(refuse, arguments, says):
    assert says in refuse("bench", *arguments)


def test_a_resolution_the_model_refuses_is_one_line(refuse, server):
    assert "x=17" in refuse("bench", "double", "--resolution", "x=17", "--url", server.http)


def test_an_axis_the_model_lacks_is_one_line(refuse, server):
    assert "has x" in refuse("bench", "double", "--resolution", "q=3", "--url", server.http)


def test_nobody_at_the_url_is_one_line(refuse, nobody):
    assert "certisolve serve" in refuse("bench", "double", "--url", nobody)

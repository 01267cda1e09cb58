import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from certisolve import Client, wire
from certisolve_server.cli.live import LivePicture

U0 = np.linspace(0.1, 0.9, 16).astype(np.float32)


@pytest.fixture
def u0(tmp_path):
    path = tmp_path / "u0.npy"
    np.save(path, U0)
    return path


def test_the_summary_says_status_error_times_and_range(call, url, u0):
    result = call("solve", "double", "-i", f"u0={u0}", "--url", url)
    assert result.exit_code == 0, result.output
    for text in ("ok", "1 % rel. L2 expected", "compute", "shared by 1", "x=16", "0.2", "1.8"):
        assert text in result.stdout


@pytest.mark.parametrize("name", ["u0.npy", "only.npz", "many.npz", "many.safetensors"])
def test_inputs_come_from_every_kind_of_file(call, server, tmp_path, name):
    np.save(tmp_path / "u0.npy", U0)
    np.savez(tmp_path / "only.npz", anything=U0)
    np.savez(tmp_path / "many.npz", u0=U0, other=U0 + 1)
    save_file({"u0": U0, "other": U0 + 1}, tmp_path / "many.safetensors")
    out = tmp_path / "out.npy"
    source = tmp_path / name
    result = call("solve", "double", "-i", f"u0={source}", "-o", out, "--url", server.http)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(out), 2 * U0)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_key_picks_an_array_of_an_archive(call, server, tmp_path, suffix):
    file, out = tmp_path / f"many{suffix}", tmp_path / "out.npy"
    save = np.savez if suffix == ".npz" else lambda path, **arrays: save_file(arrays, path)
    save(file, a=U0, b=U0 + 1)
    result = call("solve", "double", "-i", f"u0={file}:b", "-o", out, "--url", server.http)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(out), 2 * (U0 + 1))


def test_one_archive_may_hold_every_input(call, server, tmp_path):
    file, out = tmp_path / "points.npz", tmp_path / "out.npy"
    np.savez(file, x=np.array([0.5, 0.25]), y=np.array([0.5, -1.0]))
    result = call("solve", "product", file, "-o", out, "--url", server.http)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(out), [0.25, -0.25])


def test_short_inputs_may_be_written_out(call, server):
    result = call("solve", "product", "-i", "x=0.5,0.25", "-i", "y=0.5,-1", "--url", server.http)
    assert result.exit_code == 0, result.output
    assert "-0.25" in result.stdout
    assert "0.001 RMSE expected" in result.stdout


def test_parameters_and_times_travel(call, url, u0, tmp_path):
    out = tmp_path / "out.npy"
    arguments = ("solve", "scale", "-i", f"u0={u0}", "-p", "gain=4", "--t", "1.0", "-o", out)
    assert call(*arguments, "--url", url).exit_code == 0
    np.testing.assert_array_equal(np.load(out), 4 * U0)


def test_an_npz_holds_fields_coordinates_and_times(call, url, u0, tmp_path):
    out = tmp_path / "out.npz"
    assert call("solve", "double", "-i", f"u0={u0}", "-o", out, "--url", url).exit_code == 0
    with np.load(out) as archive:
        np.testing.assert_array_equal(archive["u"], 2 * U0)
        np.testing.assert_array_equal(archive["coords.x"], np.arange(16) / 16)
        assert archive["t"] == [1.0]


def test_a_safetensors_file_says_which_model_answered(call, url, u0, tmp_path):
    out = tmp_path / "out.safetensors"
    assert call("solve", "double", "-i", f"u0={u0}", "-o", out, "--url", url).exit_code == 0
    np.testing.assert_array_equal(load_file(out)["u"], 2 * U0)
    _, metadata = wire.decode_safetensors(out.read_bytes())
    assert metadata["model"]["name"] == "double"
    assert metadata["expected_error"] == 0.01


def test_a_resampled_answer_says_so(call, url, tmp_path):
    np.save(tmp_path / "u0.npy", np.ones(20, np.float32))
    result = call("solve", "resampling", "-i", f"u0={tmp_path / 'u0.npy'}", "--url", url)
    assert result.exit_code == 0, result.output
    assert "not validated at x=20" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["double"], "--input NAME=FILE"),
        (["double", "-i", "u0"], "NAME=FILE"),
        (["double", "-i", "u0=missing.npy"], "missing.npy: no such file"),
        (["double", "-i", "u0=missing.npz"], "missing.npz: no such file"),
        (["double", "-i", "u0=u0.txt"], "must end in one of .npy, .npz, .safetensors"),
        (["double", "-i", "u0=broken.npy"], "broken.npy: cannot be read"),
        (["double", "-i", "u0=broken.npz"], "broken.npz: cannot be read"),
        (["double", "-i", "u0=broken.safetensors"], "broken.safetensors: cannot be read"),
        (["double", "-i", "u0=pickle.npy"], "pickle.npy: cannot be read"),
        (["double", "-i", "u0=many.npz:c"], "has no c; it holds a, b"),
        (["double", "-i", "u=u0.npy"], "inputs.u"),
        (["double", "-i", "u0=1,2,3"], "x=3 is not one of: x=16; x=32"),
        (["double", "-i", "u0=nan.npy"], "inputs.u0"),
        (["double", "-i", "u0=u0.npy", "-p", "gain"], "--param gain: write NAME=NUMBER"),
        (["double", "-i", "u0=u0.npy", "-p", "gain=1"], "parameters.gain"),
        (["scale", "-i", "u0=u0.npy", "-p", "gain=99"], "use 0 to 9"),
        (["double", "-i", "u0=u0.npy", "--t", "2"], "answers at t = 1"),
        (["double", "-i", "u0=u0.npy", "--steps", "2"], "takes no steps of one size"),
        (["double", "-i", "u0=u0.npy", "--steps", "0"], "steps: must be 1 or more"),
        (["double", "-i", "u0=u0.npy", "-o", "out.txt"], "must end in one of"),
        (["double", "-i", "u0=u0.npy", "-o", "nowhere/out.npy"], "there is no directory nowhere"),
        (["double", "-i", "u0=u0.npy", "--plot", "out.xyz"], "xyz"),
        (["double", "-i", "u0=u0.npy", "--plot", "nowhere/out.png"], "no directory nowhere"),
        (["double", "-i", "u0=u0.npy", "--version", "7"], "version"),
        (["double", "-i", "u0=u0.npy", "--timeout", "-1"], "timeout"),
        (["nothing", "-i", "u0=u0.npy"], "no model 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_that_says_what_to_do(
    refuse, server, tmp_path, monkeypatch, arguments, says
):
    monkeypatch.chdir(tmp_path)
    np.save("u0.npy", U0)
    np.save("nan.npy", np.full(16, np.nan, np.float32))
    np.save("pickle.npy", np.array([{}]), allow_pickle=True)
    np.savez("many.npz", a=U0, b=U0)
    for suffix in (".npy", ".npz", ".safetensors"):
        (tmp_path / f"broken{suffix}").write_bytes(b"nothing of the kind")
    assert says in refuse("solve", *arguments, "--url", server.http)


def test_no_time_left_is_one_line(refuse, server, u0):
    arguments = ("solve", "slow", "-i", f"u0={u0}", "--timeout", "0.02", "--url", server.http)
    assert "error" in refuse(*arguments)


def test_nobody_at_the_url_is_one_line_that_says_how_to_start(refuse, nobody, u0):
    line = refuse("solve", "double", "-i", f"u0={u0}", "--url", nobody)
    assert "certisolve serve" in line


# --- Families -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_times_of_a_rollout_are_chosen_and_told(call, family_server, tmp_path, scheme):
    out = tmp_path / "out.npz"
    np.savez(tmp_path / "in.npz", w=U0, f=U0)
    arguments = ("solve", "drift", tmp_path / "in.npz", "--t", "0.1", "--t", "0.4", "-o", out)
    result = call(*arguments, "--url", family_server.url(scheme))
    assert result.exit_code == 0, result.output
    for text in ("5 % rel. L2 expected", "0.1, 0.4", "t=2, x=16", "evaluations", "residual"):
        assert text in result.stdout
    with np.load(out) as archive:
        assert archive["w"].shape == (2, 16)
        np.testing.assert_array_equal(archive["t"], [0.1, 0.4])


def test_a_horizon_beyond_what_was_validated_is_said(call, family_server, tmp_path):
    np.savez(tmp_path / "in.npz", w=U0, f=U0)
    arguments = ("solve", "drift", tmp_path / "in.npz", "--t", "0.9", "--url", family_server.http)
    assert "further than the model was validated" in call(*arguments).stdout


def test_a_tolerance_travels_and_the_residual_is_told(call, family_server, tmp_path):
    np.savez(tmp_path / "in.npz", k=U0, f=U0.astype(np.float64))
    arguments = ("solve", "screened", tmp_path / "in.npz", "--url", family_server.http)
    loose = call(*arguments, "--tolerance", "0.1")
    assert loose.exit_code == 0, loose.output
    assert "never measured" in loose.stdout
    assert "residual" in loose.stdout
    assert "1 % rel. L2 expected" in call(*arguments).stdout


def test_a_tolerance_that_cannot_be_promised_is_one_line(refuse, family_server, tmp_path):
    np.savez(tmp_path / "in.npz", k=U0, f=U0)
    arguments = ("solve", "screened", tmp_path / "in.npz", "--url", family_server.http)
    assert "use 1e-12 to 1" in refuse(*arguments, "--tolerance", "2")


def test_tolerances_of_an_integration_travel_and_its_steps_are_told(call, family_server):
    arguments = ("solve", "rotation", "-i", "y=1,0", "--t", "0.123", "--url", family_server.http)
    loose = call(*arguments, "--rtol", "0.01", "--atol", "1e-3")
    assert loose.exit_code == 0, loose.output
    assert "never measured" in loose.stdout
    strict = call(*arguments).stdout
    for text in ("1 % rel. L2 expected", "0.123", "t=1, state=2", "evaluations", "rejected steps"):
        assert text in strict


def test_a_trajectory_is_drawn(call, family_server, tmp_path):
    arguments = ("solve", "rotation", "-i", "y=1,0", "--url", family_server.http)
    result = call(*arguments, "--plot", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("option", "value"), [("--rtol", "1e-9"), ("--atol", "0")])
def test_tolerances_that_no_integration_keeps_are_one_line(refuse, family_server, option, value):
    arguments = ("solve", "rotation", "-i", "y=1,0", "--url", family_server.http)
    assert f"options.{option[2:]}" in refuse(*arguments, option, value)


def test_frames_are_counted_in_steps(call, family_server, tmp_path):
    np.savez(tmp_path / "in.npz", w=U0, f=U0)
    arguments = ("solve", "drift", tmp_path / "in.npz", "--url", family_server.http)
    assert "0.2, 0.4, 0.5" in call(*arguments, "--steps", "5", "--save-every", "2").stdout
    known = call(*arguments, "--steps", "5", "--save-every", "2", "--resume-from", "2").stdout
    assert "0.4, 0.5" in known
    assert "0.2" not in known


# --- Frame by frame -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_frames_are_printed_as_they_come_and_kept_as_a_whole(call, family_server, tmp_path, scheme):
    np.savez(tmp_path / "in.npz", w=U0, f=U0)
    arguments = ("solve", "drift", tmp_path / "in.npz", "--url", family_server.url(scheme))
    streamed = call(*arguments, "--steps", "3", "--stream", "-o", tmp_path / "streamed.npz")
    assert streamed.exit_code == 0, streamed.output
    lines = streamed.stdout.splitlines()
    assert [line.partition("  ")[0] for line in lines[:3]] == ["t = 0.1", "t = 0.2", "t = 0.3"]
    assert " to " in lines[0]
    solved = call(*arguments, "--steps", "3", "-o", tmp_path / "solved.npz")
    assert solved.exit_code == 0, solved.output
    # The same summary, but for the times that it took.
    assert sorted(line.split()[0] for line in lines[3:]) == sorted(
        line.split()[0] for line in solved.stdout.splitlines()
    )
    with np.load(tmp_path / "streamed.npz") as one, np.load(tmp_path / "solved.npz") as other:
        assert sorted(one.files) == sorted(other.files)  # messages order no maps
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_map_is_one_frame(call, server, u0):
    result = call("solve", "double", "-i", f"u0={u0}", "--stream", "--url", server.http)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("t = 1  u ")


def test_a_stream_that_is_refused_is_one_line(refuse, family_server, tmp_path):
    np.savez(tmp_path / "in.npz", w=U0, f=U0)
    arguments = ("solve", "drift", tmp_path / "in.npz", "--url", family_server.http, "--stream")
    assert "options.resume_from" in refuse(*arguments, "--steps", "2", "--resume-from", "2")


def test_the_picture_grows_while_frames_come(family_server, tmp_path):
    path, sizes = tmp_path / "out.png", []
    with Client(family_server.http) as client:
        inputs, manifest = {"w": U0, "f": U0}, client.model("drift").manifest
        picture = LivePicture(path, manifest, inputs, pause_s=0.0)
        frames = []
        for frame in client.stream("drift", inputs, steps=2):
            frames.append(frame)
            picture.show(frames)
            sizes.append(path.read_bytes())
    assert all(drawn.startswith(b"\x89PNG") for drawn in sizes)
    assert sizes[0] != sizes[1]
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("model", ["drift", "members"])
def test_a_stream_ends_with_the_picture_of_the_whole(call, family_server, tmp_path, model):
    names = {"drift": ("w", "f"), "members": ("u0",)}[model]
    np.savez(tmp_path / "in.npz", **dict.fromkeys(names, U0))
    arguments = ("solve", model, tmp_path / "in.npz", "--url", family_server.http, "--stream")
    result = call(*arguments, "--plot", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert "drew" in result.stdout
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")

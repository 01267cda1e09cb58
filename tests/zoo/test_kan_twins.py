from pathlib import Path

import torch

from certisolve_zoo.perceptron_twins import Perceptron, rivals, width_of_twin

PAGE = Path(__file__).parents[2] / "docs" / "symbolic.md"


def _num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_twins_are_no_smaller_than_their_networks_and_counted_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for rival in rivals():
        ours = _num_parameters(rival.spec.architecture())
        theirs = _num_parameters(Perceptron(width_of_twin(ours)))
        assert ours <= theirs < 1.1 * ours
        row = next(line for line in page.splitlines() if line.startswith(f"| `{rival.spec.name}`"))
        cells = [cell.strip() for cell in row.split("|")]
        assert (cells[3], cells[5]) == (str(ours), str(theirs))


def test_twins_answer_what_their_networks_answer():
    for rival in rivals():
        (inputs,) = rival.spec.examples(2)
        twin = Perceptron(3)
        answer = rival.answer(twin, inputs)
        assert answer.shape == rival.spec.architecture()(*inputs).shape
        assert torch.isfinite(answer).all()

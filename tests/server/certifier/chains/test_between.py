"""Bounds in l1 and linf hold, are near what is known, and are proven again from what they hold."""

import dataclasses
import itertools
import math

import pytest
import torch

from certisolve_server.certifier.chains import (
    BetweenCertificate,
    Chain,
    Ends,
    improving_between,
    recheck_between,
)
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from chain_members import attained, folded, plain, residual
from chain_programs import lipsdp

NORMS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}


def best(chain: Chain, inputs: str, outputs: str) -> BetweenCertificate:
    *_, last = (found for found in improving_between(chain, inputs, outputs) if found is not None)
    return last


@pytest.mark.parametrize(("inputs", "outputs"), list(itertools.product(NORMS, NORMS)))
def test_no_jacobian_exceeds_a_bound_in_any_norms(inputs, outputs):
    for chain in (
        plain((3, 6, 5, 2), 0.0, 1.0),
        residual(3, 4, 2, -0.1, 1.1, seed=2),
        folded((3, 6, 6, 2), 2),
    ):
        certificate = best(chain, inputs, outputs)
        least = attained(chain, 200, NORMS[inputs], NORMS[outputs])
        assert least * (1 - 1e-12) <= certificate.upper <= 4 * least
        assert recheck_between(chain, certificate) <= certificate.upper


@pytest.mark.parametrize("seed", range(3))
def test_one_output_of_inputs_in_linf_is_bounded_as_by_a_general_solver(seed):
    chain = plain((4, 8, 6, 1), 0.0, 1.0, seed)
    upper = best(chain, "linf", "linf").upper
    assert upper == pytest.approx(lipsdp(chain, "linf"), rel=1e-4)
    turned = Chain.of([a.lower.mT for a in reversed(chain.maps)], chain.slopes[::-1])
    assert best(turned, "l1", "l1").upper == pytest.approx(upper, rel=1e-4)


def test_norms_of_maps_are_found_where_they_are_known():
    signs = torch.tensor([[1.0, -2.0], [0.5, 3.0], [2.0, 2.0]], dtype=torch.float64)
    chain = Chain.of([signs], [])
    for norms, exact in ((("linf", "linf"), 4.0), (("l1", "l1"), 7.0), (("l1", "linf"), 3.0)):
        assert exact <= best(chain, *norms).upper <= exact * (1 + 1e-5)


def test_all_outputs_are_bounded_by_the_largest_of_each():
    chain = plain((3, 6, 5, 4), 0.0, 1.0)
    every = best(chain, "linf", "linf").upper
    each = [
        best(
            Chain.of([*chain.maps[:-1], chain.maps[-1].lower[k : k + 1]], chain.slopes),
            "linf",
            "linf",
        )
        for k in range(4)
    ]
    assert every == pytest.approx(max(one.upper for one in each), rel=1e-4)


def test_bounds_of_many_outputs_fall_long_before_each_was_searched():
    found = list(improving_between(plain((3, 8, 6, 12), 0.0, 1.0), "linf", "linf"))
    improved = [index for index, each in enumerate(found) if each is not None]
    gaps = [after - before for before, after in itertools.pairwise(improved)]
    assert max(gaps) < len(found) / 4


def test_parts_that_are_missing_or_claim_too_much_are_refused():
    chain = plain((3, 6, 5, 4), 0.0, 1.0)
    certificate = best(chain, "linf", "linf")
    worst = max(certificate.parts, key=lambda part: part.upper * _factor(part))
    fewer = tuple(part for part in certificate.parts if part is not worst)
    low = dataclasses.replace(worst, upper=worst.upper * (1 - 1e-6))
    for parts in (fewer, (*fewer, low), ()):
        with pytest.raises(NotCertified):
            recheck_between(chain, dataclasses.replace(certificate, parts=parts))
    with pytest.raises(NotCertified):
        recheck_between(chain, dataclasses.replace(certificate, upper=certificate.upper * 0.999))
    for nothing in (math.nan, math.inf, -1.0):
        with pytest.raises(NotCertified):
            BetweenCertificate(nothing, "l1", "l1", ())


def _factor(part) -> float:
    scale = part.ends.inputs
    return 1.0 if scale is None else float((1 / scale).norm())


def test_parts_and_scales_are_only_used_where_they_prove_something():
    chain = plain((3, 6, 4), 0.0, 1.0)
    ones = torch.ones(3, dtype=torch.float64)
    for ends in (Ends(column=0), Ends(row=0), Ends(inputs=ones), Ends(outputs=ones)):
        with pytest.raises(InvalidRequest):
            ends.factor(chain, "l2", "l2")
    for scale in (ones * 0, -ones, ones * math.nan, ones * math.inf):
        with pytest.raises(InvalidRequest):
            Ends(inputs=scale)


def test_blocks_of_another_basis_have_no_other_norms():
    blocks = Chain.of([torch.ones(2, 3, 3), torch.ones(1, 3)], [plain((3, 3, 1), 0, 1).slopes[0]])
    for norms in (("linf", "linf"), ("l2", "l1"), ("l1", "l2")):
        with pytest.raises(InvalidRequest):
            list(improving_between(blocks, *norms))


@pytest.mark.parametrize("norms", [("l2", "l2"), ("linf", "linf"), ("l1", "l2")])
def test_what_proved_a_bound_of_a_similar_chain_is_tried_first(norms):
    chain = plain((3, 6, 5, 2), 0.0, 1.0)
    cold = best(chain, *norms)
    nearby = Chain.of([a.lower * (1 - 1e-3) for a in chain.maps], chain.slopes)
    warm = []
    for found in improving_between(nearby, *norms, cold):
        if found is not None:
            warm.append(found)
        if len(warm) == len(cold.parts):
            break
    assert best(nearby, *norms).upper <= warm[-1].upper <= cold.upper
    assert recheck_between(nearby, warm[-1]) <= warm[-1].upper

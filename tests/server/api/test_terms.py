"""Headers become terms, or a refusal that names the header; whatever is absent costs nothing."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_server.api.terms import read_terms
from certisolve_server.errors import InvalidOption
from certisolve_server.jobs import Priority, Terms

NOW = 1000.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_without_headers_the_terms_are_the_defaults():
    assert read_terms({}, NOW) == Terms()
    assert read_terms({"content-type": "application/json"}, NOW) == Terms()
    assert read_terms({}, NOW, 1005.0) == Terms(deadline=1005.0)


def test_every_header_is_read():
    headers = {
        "certisolve-deadline-ms": "2500",
        "certisolve-tenant": "lab-7.a_B",
        "certisolve-priority": "high",
        "idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324",
        "traceparent": TRACE,
    }
    key = headers["idempotency-key"]
    assert read_terms(headers, NOW) == Terms(1002.5, "lab-7.a_B", Priority.HIGH, key, TRACE)


@pytest.mark.parametrize(("protocol", "earlier"), [(1001.0, 1001.0), (1009.0, 1002.0)])
def test_of_two_deadlines_the_earlier_counts(protocol, earlier):
    assert read_terms({"certisolve-deadline-ms": "2000"}, NOW, protocol).deadline == earlier


MALFORMED = {
    "Certisolve-Tenant": ["", " ", "a b", "a" * 65, "a/b", "a,b", "ä", "a\n", "\x00", "١"],
    "Certisolve-Priority": ["", "High", "urgent", "0", "high ", "high, low"],
    "Idempotency-Key": ["", "a" * 256, "\x7f", "a\tb", "é", "\xa0", "a\n", "🔑", "a" * 100_000],
    "Certisolve-Deadline-Ms": ["", "0", "-1", "1.5", "1e3", " 1", "1 ", "9" * 13, "١", "inf"],
}


@pytest.mark.parametrize(
    ("header", "value"), [(header, value) for header, each in MALFORMED.items() for value in each]
)
def test_a_malformed_header_is_named(header, value):
    with pytest.raises(InvalidOption) as raised:
        read_terms({header.lower(): value}, NOW)
    assert raised.value.field == header
    assert "must be" in raised.value.detail


@pytest.mark.parametrize("key", ["k", " ", '"quoted"', "a" * 255, "~!@#", "a b"])
def test_any_printable_ascii_is_a_key(key):
    assert read_terms({"idempotency-key": key}, NOW).idempotency_key == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "-more",
        "ff" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
        TRACE.replace("-", "_"),
        TRACE + "\n",
        f"{TRACE}, {TRACE}",
        "01" + TRACE[2:] + "-" + "x" * 10_000,
    ],
)
def test_a_malformed_trace_context_counts_as_none(header):
    assert read_terms({"traceparent": header}, NOW) == Terms()


@pytest.mark.parametrize("header", [TRACE, "01" + TRACE[2:], "cc" + TRACE[2:] + "-what-comes-next"])
def test_a_trace_context_of_this_and_later_versions_is_passed_on(header):
    assert read_terms({"traceparent": header}, NOW).traceparent == header


@given(
    st.dictionaries(
        st.sampled_from([name.lower() for name in MALFORMED] + ["traceparent", "prefer"]),
        st.text(max_size=300),
    )
)
def test_noise_is_terms_or_a_refusal(headers):
    with contextlib.suppress(InvalidOption):
        terms = read_terms(headers, NOW)
        assert 1 <= len(terms.tenant) <= 64
        assert len(terms.idempotency_key) <= 255

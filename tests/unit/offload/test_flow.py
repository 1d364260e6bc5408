from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offload.flow import FIELDS, Flow, Output, Owner, OwnerKind, Resubmit, SetField, Term, make_match

TERMS = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.builds(
        Term,
        st.just(name),
        st.integers(0, (1 << FIELDS[name].bits) - 1),
        st.none() | st.integers(0, (1 << FIELDS[name].bits) - 1),
    )
)


@given(st.lists(TERMS))
def test_a_match_has_one_form_whatever_the_order_of_its_terms(terms: list[Term]) -> None:
    by_field = list({term.field: term for term in terms}.values())
    match = make_match(by_field)
    assert match == make_match(reversed(by_field)) == make_match(match)
    assert all(term.mask != 0 and term.value & ~(-1 if term.mask is None else term.mask) == 0 for term in match)


def test_a_whole_mask_is_no_mask_and_an_empty_one_no_term() -> None:
    assert make_match([Term("ip_src", 1, 0xFFFFFFFF), Term("ip_dst", 5, 0)]) == (Term("ip_src", 1),)


def test_a_flow_reads_as_ovs_ofctl_takes_it() -> None:
    match = make_match([Term("in_port", 11), Term("eth_type", 0x800), Term("ip_dst", 0x0A010100, 0xFFFFFF00)])
    flow = Flow(5, 90, match, (SetField("tun_id", 100), SetField("tun_dst", 0xC000020C), Output(2)), 0)
    assert str(flow) == (
        "table=5,priority=90,eth_type=0x800,in_port=11,ip_dst=10.1.1.0/255.255.255.0"
        " actions=set_field:0x64->tun_id,set_field:192.0.2.12->tun_dst,output:2"
    )
    assert str(Flow(0, 0, (), (), 0)) == "table=0,priority=0 actions=drop"
    assert str(Flow(0, 0, (), (Resubmit(5),), 0)) == "table=0,priority=0 actions=resubmit(,5)"


def test_a_cookie_tells_ours_and_the_kind_and_fits() -> None:
    cookie = Owner(OwnerKind.PEER, "dpu1").cookie
    assert cookie >> 56 == 0xD0
    assert cookie >> 40 & 0xFF == OwnerKind.PEER
    assert cookie < 1 << 64
    assert Flow(0, 0, (), (), cookie).is_ours
    assert not Flow(0, 0, (), (), 0x77).is_ours
    assert Owner(OwnerKind.PEER, "dpu1").cookie != Owner(OwnerKind.PEER, "dpu2").cookie

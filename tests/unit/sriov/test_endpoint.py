"""Where HTTP is answered, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.endpoint import TcpEndpoint, UnixEndpoint, parse_endpoint
from sriov.errors import InputError

ADDRESSES = st.ip_addresses().filter(lambda address: getattr(address, "scope_id", None) is None).map(str)
ENDPOINTS = st.builds(TcpEndpoint, ADDRESSES, st.integers(0, 65535)) | st.builds(
    UnixEndpoint, st.from_regex(r"/[a-z0-9./]{0,60}", fullmatch=True)
)


@given(ENDPOINTS)
def test_what_is_written_is_read_again(endpoint: TcpEndpoint | UnixEndpoint) -> None:
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "9402", ":9402", "localhost:9402", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:٣", "::1:9402",
     "[127.0.0.1]:1", "[::1]", "unix:", "unix:run/x", "unix:/" + "x" * 107, "127.0.0.1:-1", "127.0.0.1:+1"],
)  # fmt: skip
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_endpoint(text)
    assert repr(text) in str(caught.value)

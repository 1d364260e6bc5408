"""The real switch for contract tests is the one of the layer below."""

from __future__ import annotations

from tests.netns.offload.conftest import dummy_switch

__all__ = ["dummy_switch"]

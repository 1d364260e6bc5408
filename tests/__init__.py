"""The suite: unit, netns, contract, lab, bench; see the README of each layer, and conftest.py for the guard."""

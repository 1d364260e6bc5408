"""The library, the agent and the operator of the DPU side: representors into Open vSwitch, flows into the hardware.

`model` what should be, as values · `desired` reading it from a document · `flow` flow rules as values · `rules` what
should be → flow rules · `plan` (should be, is) → steps, each with a reason · `verdict` is it in hardware, and if not why
· `observe`, `apply`, `flower`, `ethtool`, `vswitch` the world · `status` all of it read once · `agent` the daemon.

This file imports nothing, so that a program pays only for the modules it names.
"""

"""The CNI plugin: a thin client per call, a resident node daemon, and one way to perform a verb that both share.

`client` the call · `request` and `network` what was asked · `observe`, `plan`, `apply` look, decide, do · `record` what ADD
must tell DEL · `ipam` the delegated plugin · `perform` one verb from end to end · `result` what is answered · `daemon`.

This file imports nothing: the thin client pays for what it uses.
"""

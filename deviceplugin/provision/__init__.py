"""Create VFs as policies ask: policies → desired state of each PF → plan → apply → read back.

`policy` what was written · `desired` what that means for the PFs of this host · `plan` steps with reasons ·
`apply` does them · `record` initial state, lock, VFs that pods have.
"""

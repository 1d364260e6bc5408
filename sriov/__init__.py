"""The ground the three packages stand on: the words of SR-IOV as values, the errors, what the kernel says.

`errors` the one tree of errors · `model` addresses and functions as values · `document` reading what people wrote ·
`representor` the grammar of ``phys_port_name`` · `log` one log format · `kernel` the only code here that touches Linux.

This file imports nothing, so that a program pays only for the modules it names.
"""

"""Which VFs this host has, who may have them: discovery, provisioning, the kubelet's device plugin.

`source` files people wrote · `observe` PFs and VFs as they are · `config`, `inventory`, `allocate` decide ·
`server`, `registration`, `loop` serve the kubelet · `provision` creates VFs · `kubelet` generated code · `cli` commands.
"""

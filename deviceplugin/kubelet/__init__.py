"""The kubelet's device-plugin API as generated code; see ``v1beta1.proto`` and ``regenerate.sh``."""

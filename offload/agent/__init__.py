"""The daemon on the DPU: observe, plan, apply, and again on every wake-up."""

"""What Linux says and does: sysfs, network namespaces, rtnetlink, devlink. The only code in `sriov` with side effects."""

// SPDX-License-Identifier: GPL-2.0
/*
 * An RDMA device that does nothing, on a PCI function of another driver.
 *
 * To the RDMA core it is what a NIC's RDMA driver registers: a device whose parent is the function, whose port stands on the
 * function's network device, and that may go to another network namespace. The soft drivers of the kernel (siw, rxe) can
 * do none of this: they have no parent, refuse to be moved, and are gone when their network device moves. Nothing can
 * be opened on it: it has no verbs.
 *
 *   insmod rdmasim.ko function=0000:01:10.0
 */
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>
#include <rdma/ib_verbs.h>

static char *function;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "address of the PCI function it stands on");

static struct ib_device *rdmasim;
static struct pci_dev *parent;

static int rdmasim_query_device(struct ib_device *device, struct ib_device_attr *attr, struct ib_udata *udata)
{
	memset(attr, 0, sizeof(*attr));
	return 0;
}

static int rdmasim_query_port(struct ib_device *device, u32 port, struct ib_port_attr *attr)
{
	attr->state = IB_PORT_ACTIVE;
	attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	attr->max_mtu = IB_MTU_1024;
	attr->active_mtu = IB_MTU_1024;
	attr->active_width = IB_WIDTH_1X;
	attr->active_speed = IB_SPEED_SDR;
	return 0;
}

static int rdmasim_get_port_immutable(struct ib_device *device, u32 port, struct ib_port_immutable *immutable)
{
	immutable->core_cap_flags = RDMA_CORE_PORT_RAW_PACKET;
	return 0;
}

static enum rdma_link_layer rdmasim_get_link_layer(struct ib_device *device, u32 port)
{
	return IB_LINK_LAYER_ETHERNET;
}

/* Nobody has anything of it open, so there is nothing to take away; that it can be done is what allows a move. */
static void rdmasim_disassociate_ucontext(struct ib_ucontext *context)
{
}

static const struct ib_device_ops rdmasim_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = 1,
	.query_device = rdmasim_query_device,
	.query_port = rdmasim_query_port,
	.get_port_immutable = rdmasim_get_port_immutable,
	.get_link_layer = rdmasim_get_link_layer,
	.disassociate_ucontext = rdmasim_disassociate_ucontext,
};

static struct pci_dev *rdmasim_find_function(const char *name)
{
	struct device *device = bus_find_device_by_name(&pci_bus_type, NULL, name);

	return device ? to_pci_dev(device) : NULL;
}

/* The port stands on the function's network device, if that is in the initial namespace now. */
static int rdmasim_bind_netdev(void)
{
	struct net_device *netdev;
	int err = 0;

	rtnl_lock();
	for_each_netdev(&init_net, netdev) {
		if (netdev->dev.parent == &parent->dev) {
			err = ib_device_set_netdev(rdmasim, netdev, 1);
			break;
		}
	}
	rtnl_unlock();
	return err;
}

static int __init rdmasim_init(void)
{
	int err;

	parent = function ? rdmasim_find_function(function) : NULL;
	if (!parent)
		return -ENODEV;
	rdmasim = _ib_alloc_device(sizeof(struct ib_device));
	if (!rdmasim) {
		err = -ENOMEM;
		goto put;
	}
	rdmasim->node_type = RDMA_NODE_UNSPECIFIED;
	rdmasim->phys_port_cnt = 1;
	rdmasim->num_comp_vectors = 1;
	rdmasim->dev.parent = &parent->dev;
	ib_set_device_ops(rdmasim, &rdmasim_ops);
	err = rdmasim_bind_netdev();
	if (!err)
		err = ib_register_device(rdmasim, "rdmasim%d", NULL);
	if (!err)
		return 0;
	ib_dealloc_device(rdmasim);
put:
	pci_dev_put(parent);
	return err;
}

static void __exit rdmasim_exit(void)
{
	ib_unregister_device(rdmasim);
	ib_dealloc_device(rdmasim);
	pci_dev_put(parent);
}

module_init(rdmasim_init);
module_exit(rdmasim_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("An RDMA device that does nothing, for tests of what happens to one");

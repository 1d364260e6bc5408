// SPDX-License-Identifier: GPL-2.0
/*
 * One port: a devlink port, the netdev that stands for it in the DPU, and a second netdev for what is behind it (the function in
 * the host, or the cable). The two are joined as in drivers/net/veth.c; the far end is made to be moved into another namespace.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "dpusim.h"

/* The features of veth: packets stay large and unsummed between the two ends, as nothing is sent over a wire here. */
#define DPUSIM_FEATURES                                                                                                              \
	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_HIGHDMA | NETIF_F_GSO_SOFTWARE |                 \
	 NETIF_F_GSO_ENCAP_ALL)

static netdev_tx_t end_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct dpusim_end *end = netdev_priv(dev);
	unsigned int len = skb->len;
	struct net_device *peer;

	rcu_read_lock();
	peer = rcu_dereference(end->peer);
	if (likely(peer && netif_running(peer))) {
		/* Frees the packet itself when it does not take it. */
		if (dev_forward_skb(peer, skb) == NET_RX_SUCCESS) {
			dev_sw_netstats_tx_add(dev, 1, len);
			dev_sw_netstats_rx_add(peer, len);
		} else {
			dev_core_stats_tx_dropped_inc(dev);
		}
	} else {
		kfree_skb(skb);
		dev_core_stats_tx_dropped_inc(dev);
	}
	rcu_read_unlock();
	return NETDEV_TX_OK;
}

/* A port has a link when both ends are up, so a test can take the cable away by setting the far end down. */
static int end_open(struct net_device *dev)
{
	struct dpusim_end *end = netdev_priv(dev);
	struct net_device *peer = rtnl_dereference(end->peer);

	if (peer && netif_running(peer)) {
		netif_carrier_on(dev);
		netif_carrier_on(peer);
	}
	return 0;
}

static int end_stop(struct net_device *dev)
{
	struct dpusim_end *end = netdev_priv(dev);
	struct net_device *peer = rtnl_dereference(end->peer);

	netif_carrier_off(dev);
	if (peer)
		netif_carrier_off(peer);
	return 0;
}

/* Real drivers refuse too (mlx5 en_main.c, set_feature_hw_tc()): rules in the table would be left without an owner. */
static int rep_set_features(struct net_device *dev, netdev_features_t features)
{
	struct dpusim_end *end = netdev_priv(dev);

	if ((dev->features & NETIF_F_HW_TC) && !(features & NETIF_F_HW_TC) && atomic_read(&end->rules)) {
		netdev_err(dev, "Active offloaded tc filters, can't turn hw_tc_offload off\n");
		return -EINVAL;
	}
	return 0;
}

static const struct net_device_ops far_ops = {
	.ndo_open = end_open,
	.ndo_stop = end_stop,
	.ndo_start_xmit = end_xmit,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static const struct net_device_ops rep_ops = {
	.ndo_open = end_open,
	.ndo_stop = end_stop,
	.ndo_start_xmit = end_xmit,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_features = rep_set_features,
	.ndo_setup_tc = dpusim_setup_tc,
};

static void rep_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "dpusim", sizeof(info->driver));
	strscpy(info->bus_info, dev_name(dev->dev.parent), sizeof(info->bus_info));
}

static const struct ethtool_ops rep_ethtool_ops = {
	.get_drvinfo = rep_get_drvinfo,
	.get_link = ethtool_op_get_link,
};

static const struct ethtool_ops far_ethtool_ops = {
	.get_link = ethtool_op_get_link,
};

static void end_setup(struct net_device *dev)
{
	ether_setup(dev);
	eth_hw_addr_random(dev);
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_NO_QUEUE | IFF_LIVE_ADDR_CHANGE;
	dev->lltx = true;
	dev->features |= DPUSIM_FEATURES;
	dev->hw_features |= DPUSIM_FEATURES;
	dev->hw_enc_features |= DPUSIM_FEATURES;
	dev->vlan_features |= DPUSIM_FEATURES;
	dev->max_mtu = ETH_MAX_MTU;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->needs_free_netdev = true;
	netif_set_tso_max_size(dev, GSO_MAX_SIZE);
}

static struct net_device *end_alloc(struct dpusim_port *port, const char *name)
{
	struct net_device *dev;
	struct dpusim_end *end;

	dev = alloc_netdev(sizeof(*end), name, NET_NAME_ENUM, end_setup);
	if (!dev)
		return NULL;
	end = netdev_priv(dev);
	end->port = port;
	dev_net_set(dev, port->esw->net);
	return dev;
}

static int end_register(struct net_device *dev)
{
	int err;

	err = register_netdev(dev);
	if (err)
		free_netdev(dev); /* needs_free_netdev is for a device that was registered */
	else
		netif_carrier_off(dev);
	return err;
}

/* Both ends learn of each other, or forget each other, in one step as seen by rtnl holders. */
static void join(struct net_device *rep, struct net_device *far)
{
	struct dpusim_end *rep_end = netdev_priv(rep), *far_end = netdev_priv(far);

	rtnl_lock();
	rcu_assign_pointer(rep_end->peer, far);
	rcu_assign_pointer(far_end->peer, rep);
	if (netif_running(rep) && netif_running(far)) {
		netif_carrier_on(rep);
		netif_carrier_on(far);
	}
	rtnl_unlock();
}

static void part(struct net_device *rep, struct net_device *far)
{
	struct dpusim_end *rep_end = netdev_priv(rep), *far_end = netdev_priv(far);

	ASSERT_RTNL();
	RCU_INIT_POINTER(rep_end->peer, NULL);
	RCU_INIT_POINTER(far_end->peer, NULL);
	netif_carrier_off(far);
}

bool dpusim_is_port_of(const struct net_device *dev, const struct dpusim_eswitch *esw)
{
	const struct dpusim_end *end = netdev_priv(dev);

	return dev->netdev_ops == &rep_ops && end->port->esw == esw;
}

int dpusim_far_register(struct dpusim_port *port)
{
	char name[IFNAMSIZ];
	int err;

	switch (port->kind) {
	case DPUSIM_UPLINK:
		strscpy(name, "upw", sizeof(name));
		break;
	case DPUSIM_PF:
		strscpy(name, "pfw", sizeof(name));
		break;
	case DPUSIM_VF:
		snprintf(name, sizeof(name), "vfw%u", port->vf);
		break;
	}
	port->far = end_alloc(port, name);
	if (!port->far)
		return -ENOMEM;
	port->far->netdev_ops = &far_ops;
	port->far->ethtool_ops = &far_ethtool_ops;
	err = end_register(port->far);
	if (err)
		port->far = NULL;
	return err;
}

void dpusim_far_unregister(struct dpusim_port *port)
{
	unregister_netdev(port->far);
	port->far = NULL;
}

static int function_addr_get(struct devlink_port *dl_port, u8 *addr, int *len, struct netlink_ext_ack *extack)
{
	struct dpusim_port *port = container_of(dl_port, struct dpusim_port, dl_port);

	ether_addr_copy(addr, port->function_addr);
	*len = ETH_ALEN;
	return 0;
}

/* Remembered and told, as by real firmware; the function itself is a VF of another card here and does not hear of it. */
static int function_addr_set(struct devlink_port *dl_port, const u8 *addr, int len, struct netlink_ext_ack *extack)
{
	struct dpusim_port *port = container_of(dl_port, struct dpusim_port, dl_port);

	if (len != ETH_ALEN || is_multicast_ether_addr(addr)) {
		NL_SET_ERR_MSG_MOD(extack, "not a unicast Ethernet address");
		return -EINVAL;
	}
	ether_addr_copy(port->function_addr, addr);
	return 0;
}

static const struct devlink_port_ops uplink_port_ops = {};

static const struct devlink_port_ops function_port_ops = {
	.port_fn_hw_addr_get = function_addr_get,
	.port_fn_hw_addr_set = function_addr_set,
};

/* The order matters: the setters look at switch_id to know that this is a port of a switch (net/devlink/port.c). */
static int devlink_port_add(struct dpusim_port *port)
{
	const struct devlink_port_ops *ops = &function_port_ops;
	struct devlink_port *dl_port = &port->dl_port;
	struct devlink_port_attrs attrs = {
		.flavour = DEVLINK_PORT_FLAVOUR_PHYSICAL,
		.switch_id = port->esw->switch_id,
	};

	memset(dl_port, 0, sizeof(*dl_port)); /* it may have been registered before, in an earlier switchdev mode */
	dl_port->attrs.switch_id = port->esw->switch_id;
	switch (port->kind) {
	case DPUSIM_UPLINK:
		devlink_port_attrs_set(dl_port, &attrs);
		ops = &uplink_port_ops;
		break;
	case DPUSIM_PF:
		devlink_port_attrs_pci_pf_set(dl_port, DPUSIM_CONTROLLER, 0, true);
		break;
	case DPUSIM_VF:
		devlink_port_attrs_pci_vf_set(dl_port, DPUSIM_CONTROLLER, 0, port->vf, true);
		break;
	}
	return devl_port_register_with_ops(port->esw->devlink, dl_port, port - port->esw->ports, ops);
}

static struct net_device *rep_alloc(struct dpusim_port *port)
{
	struct net_device *rep;
	char name[IFNAMSIZ];

	switch (port->kind) {
	case DPUSIM_UPLINK:
		strscpy(name, "p0", sizeof(name));
		break;
	case DPUSIM_PF:
		strscpy(name, "pf0hpf", sizeof(name));
		break;
	case DPUSIM_VF:
		snprintf(name, sizeof(name), "pf0vf%u", port->vf);
		break;
	}
	rep = end_alloc(port, name);
	if (!rep)
		return NULL;
	rep->netdev_ops = &rep_ops;
	rep->ethtool_ops = &rep_ethtool_ops;
	rep->features |= NETIF_F_HW_TC;
	rep->netns_local = true;
	rep->hw_features |= NETIF_F_HW_TC;
	SET_NETDEV_DEV(rep, port->esw->dev);
	SET_NETDEV_DEVLINK_PORT(rep, &port->dl_port);
	return rep;
}

int dpusim_port_register(struct dpusim_port *port)
{
	int err;

	err = devlink_port_add(port);
	if (err)
		return err;
	port->rep = rep_alloc(port);
	err = port->rep ? end_register(port->rep) : -ENOMEM;
	if (err) {
		port->rep = NULL;
		devl_port_unregister(&port->dl_port);
		return err;
	}
	join(port->rep, port->far);
	return 0;
}

void dpusim_port_unregister(struct dpusim_port *port)
{
	rtnl_lock();
	part(port->rep, port->far);
	unregister_netdevice(port->rep);
	rtnl_unlock();
	port->rep = NULL;
	devl_port_unregister(&port->dl_port);
}

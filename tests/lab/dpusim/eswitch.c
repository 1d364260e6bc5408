// SPDX-License-Identifier: GPL-2.0
/* One instance: the devlink device, its mode, and which ports it has. Port 0 is the uplink, 1 the PF, 2 and up the VFs. */
#include <linux/slab.h>

#include "dpusim.h"

static void unregister_representors(struct dpusim_eswitch *esw, unsigned int from)
{
	unsigned int i;

	for (i = esw->nports; i-- > from;)
		dpusim_port_unregister(&esw->ports[i]);
}

static int register_representors(struct dpusim_eswitch *esw, unsigned int from)
{
	unsigned int i;
	int err;

	for (i = from; i < esw->nports; i++) {
		err = dpusim_port_register(&esw->ports[i]);
		if (err) {
			while (i-- > from)
				dpusim_port_unregister(&esw->ports[i]);
			return err;
		}
	}
	return 0;
}

static int mode_get(struct devlink *devlink, u16 *mode)
{
	struct dpusim_eswitch *esw = devlink_priv(devlink);

	*mode = esw->mode;
	return 0;
}

/* As in real drivers, representors exist in switchdev mode only; the uplink and the functions behind stay. */
static int mode_set(struct devlink *devlink, u16 mode, struct netlink_ext_ack *extack)
{
	struct dpusim_eswitch *esw = devlink_priv(devlink);
	int err = 0;

	if (mode == esw->mode)
		return 0;
	switch (mode) {
	case DEVLINK_ESWITCH_MODE_SWITCHDEV:
		err = register_representors(esw, 1);
		if (err)
			NL_SET_ERR_MSG_MOD(extack, "cannot make the representors");
		break;
	case DEVLINK_ESWITCH_MODE_LEGACY:
		unregister_representors(esw, 1);
		break;
	default:
		NL_SET_ERR_MSG_MOD(extack, "this e-switch is legacy or switchdev");
		err = -EOPNOTSUPP;
	}
	if (!err)
		esw->mode = mode;
	return err;
}

static int info_get(struct devlink *devlink, struct devlink_info_req *req, struct netlink_ext_ack *extack)
{
	struct dpusim_eswitch *esw = devlink_priv(devlink);
	int err;

	err = devlink_info_serial_number_put(req, dev_name(esw->dev));
	return err ?: devlink_info_version_running_put(req, "fw", "1.0");
}

static const struct devlink_ops devlink_ops = {
	.eswitch_mode_get = mode_get,
	.eswitch_mode_set = mode_set,
	.info_get = info_get,
};

static void far_ends_unregister(struct dpusim_eswitch *esw, unsigned int count)
{
	while (count--)
		dpusim_far_unregister(&esw->ports[count]);
}

static int far_ends_register(struct dpusim_eswitch *esw)
{
	unsigned int i;
	int err;

	for (i = 0; i < esw->nports; i++) {
		err = dpusim_far_register(&esw->ports[i]);
		if (err) {
			far_ends_unregister(esw, i);
			return err;
		}
	}
	return 0;
}

static int ports_alloc(struct dpusim_eswitch *esw, unsigned int nvfs)
{
	unsigned int i;

	esw->nports = 2 + nvfs;
	esw->ports = kcalloc(esw->nports, sizeof(*esw->ports), GFP_KERNEL);
	if (!esw->ports)
		return -ENOMEM;
	for (i = 0; i < esw->nports; i++) {
		struct dpusim_port *port = &esw->ports[i];

		port->esw = esw;
		port->kind = i == 0 ? DPUSIM_UPLINK : i == 1 ? DPUSIM_PF : DPUSIM_VF;
		port->vf = i > 1 ? i - 2 : 0;
	}
	return 0;
}

static struct dpusim_eswitch *eswitch_alloc(struct dpusim_bus_dev *bus_dev)
{
	struct dpusim_eswitch *esw;
	struct devlink *devlink;

	devlink = devlink_alloc_ns(&devlink_ops, sizeof(*esw), bus_dev->net, &bus_dev->dev);
	if (!devlink)
		return NULL;
	esw = devlink_priv(devlink);
	esw->devlink = devlink;
	esw->dev = &bus_dev->dev;
	esw->net = bus_dev->net;
	esw->mode = DEVLINK_ESWITCH_MODE_SWITCHDEV;
	esw->switch_id.id_len = 8;
	get_random_bytes(esw->switch_id.id, esw->switch_id.id_len);
	return esw;
}

int dpusim_eswitch_create(struct dpusim_bus_dev *bus_dev)
{
	struct dpusim_eswitch *esw;
	int err;

	esw = eswitch_alloc(bus_dev);
	if (!esw)
		return -ENOMEM;
	err = ports_alloc(esw, bus_dev->nvfs);
	if (err)
		goto out_devlink;
	err = dpusim_offload_init(esw);
	if (err)
		goto out_ports;
	err = far_ends_register(esw);
	if (err)
		goto out_offload;
	devl_lock(esw->devlink);
	err = register_representors(esw, 0);
	if (!err)
		devl_register(esw->devlink);
	devl_unlock(esw->devlink);
	if (err)
		goto out_far;
	err = dpusim_offload_start(esw);
	if (err)
		goto out_devl;
	dpusim_control_add(esw);
	dev_set_drvdata(&bus_dev->dev, esw);
	return 0;

out_devl:
	devl_lock(esw->devlink);
	devl_unregister(esw->devlink);
	unregister_representors(esw, 0);
	devl_unlock(esw->devlink);
out_far:
	far_ends_unregister(esw, esw->nports);
out_offload:
	dpusim_offload_exit(esw);
out_ports:
	kfree(esw->ports);
out_devlink:
	devlink_free(esw->devlink);
	return err;
}

void dpusim_eswitch_destroy(struct dpusim_bus_dev *bus_dev)
{
	struct dpusim_eswitch *esw = dev_get_drvdata(&bus_dev->dev);

	dpusim_control_del(esw);
	/* Indirect blocks first: their cleanup takes the rtnl lock and replays "delete" for each rule. */
	dpusim_offload_stop(esw);
	devl_lock(esw->devlink);
	devl_unregister(esw->devlink);
	unregister_representors(esw, esw->mode == DEVLINK_ESWITCH_MODE_SWITCHDEV ? 1 : esw->nports);
	dpusim_port_unregister(&esw->ports[0]);
	devl_unlock(esw->devlink);
	far_ends_unregister(esw, esw->nports);
	dpusim_offload_exit(esw);
	kfree(esw->ports);
	devlink_free(esw->devlink);
}

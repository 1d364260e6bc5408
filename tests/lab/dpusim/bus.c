// SPDX-License-Identifier: GPL-2.0
/*
 * The "dpusim" bus. An instance is made with
 *
 *   echo "ID NVFS" > /sys/bus/dpusim/new_device
 *
 * in the network namespace of the writer, and goes with del_device, with that namespace or with the module. The shape is that of
 * drivers/net/netdevsim/bus.c, so that devlink, ethtool and sysfs show a bus, a device and a driver as for real hardware.
 */
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "dpusim.h"

static LIST_HEAD(bus_devs);
static DEFINE_MUTEX(bus_devs_lock);
static bool bus_open; /* under bus_devs_lock; no new instance once the module is leaving */

static struct dpusim_bus_dev *to_bus_dev(struct device *dev)
{
	return container_of(dev, struct dpusim_bus_dev, dev);
}

static void bus_dev_release(struct device *dev)
{
	kfree(to_bus_dev(dev));
}

static const struct device_type bus_dev_type = {
	.name = "dpusim",
	.release = bus_dev_release,
};

static const struct bus_type dpusim_bus;

static struct dpusim_bus_dev *bus_dev_find(unsigned int id)
{
	struct dpusim_bus_dev *bus_dev;

	list_for_each_entry(bus_dev, &bus_devs, list)
		if (bus_dev->dev.id == id)
			return bus_dev;
	return NULL;
}

static int bus_dev_add(unsigned int id, unsigned int nvfs)
{
	struct dpusim_bus_dev *bus_dev;
	int err;

	bus_dev = kzalloc(sizeof(*bus_dev), GFP_KERNEL);
	if (!bus_dev)
		return -ENOMEM;
	bus_dev->net = current->nsproxy->net_ns;
	bus_dev->nvfs = nvfs;
	bus_dev->dev.id = id;
	bus_dev->dev.bus = &dpusim_bus;
	bus_dev->dev.type = &bus_dev_type;
	device_initialize(&bus_dev->dev);
	err = dev_set_name(&bus_dev->dev, "dpusim%u", id);
	if (!err)
		err = device_add(&bus_dev->dev);
	if (err) {
		put_device(&bus_dev->dev);
		return err;
	}
	/* The driver core swallows what probe() says; without this a failure would look like success. */
	if (bus_dev->probe_error) {
		err = bus_dev->probe_error;
		device_unregister(&bus_dev->dev);
		return err;
	}
	list_add_tail(&bus_dev->list, &bus_devs);
	return 0;
}

static void bus_dev_del(struct dpusim_bus_dev *bus_dev)
{
	list_del(&bus_dev->list);
	device_unregister(&bus_dev->dev);
}

static ssize_t new_device_store(const struct bus_type *bus, const char *buf, size_t count)
{
	unsigned int id, nvfs;
	int err;

	if (sscanf(buf, "%u %u", &id, &nvfs) != 2 || id > INT_MAX || nvfs > DPUSIM_MAX_VFS) {
		pr_err("dpusim: write \"ID NVFS\" with at most %d VFs\n", DPUSIM_MAX_VFS);
		return -EINVAL;
	}
	mutex_lock(&bus_devs_lock);
	if (!bus_open)
		err = -EBUSY;
	else if (bus_dev_find(id))
		err = -EEXIST;
	else
		err = bus_dev_add(id, nvfs);
	mutex_unlock(&bus_devs_lock);
	return err ?: count;
}
static BUS_ATTR_WO(new_device);

static ssize_t del_device_store(const struct bus_type *bus, const char *buf, size_t count)
{
	struct dpusim_bus_dev *bus_dev;
	unsigned int id;
	int err;

	err = kstrtouint(buf, 10, &id);
	if (err)
		return err;
	mutex_lock(&bus_devs_lock);
	bus_dev = bus_dev_find(id);
	if (bus_dev)
		bus_dev_del(bus_dev);
	mutex_unlock(&bus_devs_lock);
	return bus_dev ? count : -ENOENT;
}
static BUS_ATTR_WO(del_device);

static struct attribute *dpusim_bus_attrs[] = {
	&bus_attr_new_device.attr,
	&bus_attr_del_device.attr,
	NULL,
};
ATTRIBUTE_GROUPS(dpusim_bus);

static int dpusim_bus_probe(struct device *dev)
{
	struct dpusim_bus_dev *bus_dev = to_bus_dev(dev);

	bus_dev->probe_error = dpusim_eswitch_create(bus_dev);
	return bus_dev->probe_error;
}

static void dpusim_bus_remove(struct device *dev)
{
	dpusim_eswitch_destroy(to_bus_dev(dev));
}

static const struct bus_type dpusim_bus = {
	.name = "dpusim",
	.bus_groups = dpusim_bus_groups,
	.probe = dpusim_bus_probe,
	.remove = dpusim_bus_remove,
};

static struct device_driver dpusim_driver = {
	.name = "dpusim",
	.bus = &dpusim_bus,
	.owner = THIS_MODULE,
	/* bind and unbind by hand would make an instance that bus_devs does not know the state of */
	.suppress_bind_attrs = true,
};

/*
 * A namespace that goes takes its instances along. This must run before devlink's own pre_exit, which wants to reload each
 * instance into the initial namespace (net/devlink/core.c, devlink_pernet_pre_exit()) and calls an operation that we do not have:
 * the pre_exit functions run in the reverse order of registration, and devlink, being built in, registered first.
 */
static void __net_exit dpusim_net_pre_exit(struct net *net)
{
	struct dpusim_bus_dev *bus_dev, *next;

	mutex_lock(&bus_devs_lock);
	list_for_each_entry_safe(bus_dev, next, &bus_devs, list)
		if (net_eq(bus_dev->net, net))
			bus_dev_del(bus_dev);
	mutex_unlock(&bus_devs_lock);
}

static struct pernet_operations dpusim_net_ops = {
	.pre_exit = dpusim_net_pre_exit,
};

static int __init dpusim_init(void)
{
	int err;

	dpusim_control_init();
	err = register_pernet_subsys(&dpusim_net_ops);
	if (err)
		goto out_control;
	err = bus_register(&dpusim_bus);
	if (err)
		goto out_pernet;
	err = driver_register(&dpusim_driver);
	if (err)
		goto out_bus;
	mutex_lock(&bus_devs_lock);
	bus_open = true;
	mutex_unlock(&bus_devs_lock);
	return 0;

out_bus:
	bus_unregister(&dpusim_bus);
out_pernet:
	unregister_pernet_subsys(&dpusim_net_ops);
out_control:
	dpusim_control_exit();
	return err;
}

static void __exit dpusim_exit(void)
{
	struct dpusim_bus_dev *bus_dev, *next;

	mutex_lock(&bus_devs_lock);
	bus_open = false;
	list_for_each_entry_safe(bus_dev, next, &bus_devs, list)
		bus_dev_del(bus_dev);
	mutex_unlock(&bus_devs_lock);
	driver_unregister(&dpusim_driver);
	bus_unregister(&dpusim_bus);
	unregister_pernet_subsys(&dpusim_net_ops);
	dpusim_control_exit();
	/* A block callback freed by RCU may still be about to run our code. */
	rcu_barrier();
}

module_init(dpusim_init);
module_exit(dpusim_exit);
MODULE_DESCRIPTION("Simulated e-switch of a DPU, for tests");
MODULE_LICENSE("GPL");

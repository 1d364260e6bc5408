/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dpusim: a simulated e-switch. The map:
 *
 *   bus.c      the "dpusim" bus: new_device, del_device, the netns an instance lives in
 *   eswitch.c  one instance: devlink, e-switch mode, which ports exist
 *   port.c     one port: its devlink port, its netdev, and the netdev at the far end
 *   offload.c  TC flower on ports and (indirectly) on tunnels and OVS internal ports, act_ct flow tables
 *   refuse.c   which rules the simulated hardware does not take, and what it says
 *   control.c  the knobs and the counters in debugfs
 */
#ifndef DPUSIM_H
#define DPUSIM_H

#include <linux/device.h>
#include <linux/etherdevice.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/rhashtable.h>
#include <linux/seq_file.h>
#include <net/devlink.h>
#include <net/flow_offload.h>
#include <net/pkt_cls.h>

#define DPUSIM_MAX_VFS 127
/* The host behind the DPU is controller 1, as on a BlueField: controller 0 would be the Arm cores' own functions. */
#define DPUSIM_CONTROLLER 1

/* One more than the highest bit of a refusal; a mask of them has to fit into 64 bits. */
#define DPUSIM_MAX_REFUSALS 64

struct dpusim_eswitch;

enum dpusim_kind { DPUSIM_UPLINK, DPUSIM_PF, DPUSIM_VF };

/* A port of the e-switch. `rep` comes and goes with the mode, `far` stays: it stands for the function or the cable. */
struct dpusim_port {
	struct devlink_port dl_port;
	struct dpusim_eswitch *esw;
	enum dpusim_kind kind;
	unsigned int vf;
	u8 function_addr[ETH_ALEN];
	struct net_device *rep;
	struct net_device *far;
};

/* What a netdev of ours (either end) remembers. */
struct dpusim_end {
	struct net_device __rcu *peer;
	struct dpusim_port *port;
	atomic_t rules;
};

/* What user space may turn; see control.c. Read without a lock: each is one word, and a rule is judged once. */
struct dpusim_knobs {
	u32 capacity;
	u32 zones;
	u64 refuse;         /* by the "refuse" knob */
	u64 profile_refuse; /* by the profile */
	const struct dpusim_profile *profile;
	bool tunnels;
	bool internal_ports;
};

/* Counts of what TC asked for. They are all that a driver can know; no packet is among them. */
struct dpusim_counts {
	u64 added;
	u64 deleted;
	u64 table_full;
	u64 refused[DPUSIM_MAX_REFUSALS];
};

struct dpusim_eswitch {
	struct devlink *devlink;
	struct device *dev;
	struct net *net;
	struct dentry *dir;
	u16 mode;
	struct netdev_phys_item_id switch_id;
	unsigned int nports;
	struct dpusim_port *ports;

	struct mutex lock; /* guards everything below but the knobs */
	struct rhashtable rules;
	struct list_head rule_list;
	struct list_head ct_tables;
	u32 nrules;
	u32 nzones;
	struct dpusim_counts counts;
	struct dpusim_knobs knobs;
	struct list_head indirect;  /* struct dpusim_indirect; guarded by the core's flow_indr_block_lock */
	struct list_head block_cbs; /* of the indirect blocks; guarded likewise */
};

/* A reason for which a rule is refused: the word that turns it on, and what the driver then says. */
struct dpusim_refusal {
	const char *word;
	const char *text;
	bool (*applies)(const struct dpusim_eswitch *esw, const struct flow_cls_offload *rule, const struct net_device *dev,
			int arg);
	int arg;
};

struct dpusim_profile {
	const char *name;
	const char *const *words;
	u32 zones;
};

/* bus.c */
struct dpusim_bus_dev {
	struct device dev;
	struct list_head list;
	struct net *net; /* no reference: dpusim_net_pre_exit() takes the instance away before the netns goes */
	unsigned int nvfs;
	int probe_error;
};

/* eswitch.c */
int dpusim_eswitch_create(struct dpusim_bus_dev *bus_dev);
void dpusim_eswitch_destroy(struct dpusim_bus_dev *bus_dev);

/* port.c */
int dpusim_far_register(struct dpusim_port *port);
int dpusim_port_register(struct dpusim_port *port);
void dpusim_port_unregister(struct dpusim_port *port);
void dpusim_far_unregister(struct dpusim_port *port);
bool dpusim_is_port_of(const struct net_device *dev, const struct dpusim_eswitch *esw);

/* offload.c */
int dpusim_offload_init(struct dpusim_eswitch *esw);
int dpusim_offload_start(struct dpusim_eswitch *esw);
void dpusim_offload_stop(struct dpusim_eswitch *esw);
void dpusim_offload_exit(struct dpusim_eswitch *esw);
int dpusim_setup_tc(struct net_device *dev, enum tc_setup_type type, void *data);
bool dpusim_is_tunnel(const struct net_device *dev);
void dpusim_show_rules(struct dpusim_eswitch *esw, struct seq_file *out);
void dpusim_show_counts(struct dpusim_eswitch *esw, struct seq_file *out);

/* refuse.c */
int dpusim_judge(const struct dpusim_eswitch *esw, const struct flow_cls_offload *rule, const struct net_device *dev);
int dpusim_find_refusal(const char *word);
const struct dpusim_refusal *dpusim_refusal(unsigned int bit);
int dpusim_set_profile(struct dpusim_knobs *knobs, const char *name);

/* control.c */
void dpusim_control_add(struct dpusim_eswitch *esw);
void dpusim_control_del(struct dpusim_eswitch *esw);
void dpusim_control_init(void);
void dpusim_control_exit(void);

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * TC flower. A rule that is taken is remembered and said to be in hardware; it is then executed by TC, in software, since there is no
 * hardware. Hence no packet count is reported: FLOW_CLS_STATS answers "nothing since the last time", and the "hardware" part of
 * `tc -s` stays at 0 while TC's own counters count. Anything else would be invented.
 */
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <net/geneve.h>
#include <net/netfilter/nf_flow_table.h>
#include <net/vxlan.h>

#include "dpusim.h"

/* The conntrack offload of one zone, shared by the rules that send packets to it. */
struct dpusim_ct_table {
	struct list_head list;
	struct nf_flowtable *ft;
	u16 zone;
	unsigned int rules;
	atomic_t entries; /* one per direction of a connection; changed from the flow table's workers, without our lock */
};

/* A block of one of our ports may be shared (one filter, several ports), so the cookie alone is not a key. */
struct dpusim_rule_key {
	unsigned long cookie;
	const struct net_device *dev;
};

struct dpusim_rule {
	struct rhash_head node;
	struct list_head list;
	struct dpusim_rule_key key;
	u32 chain;
	u16 prio;
	__be16 protocol;
	u64 match;
	u64 stats_reads;
	char actions[128];
	unsigned int ncts;
	struct dpusim_ct_table *cts[];
};

/* A block of a device that is not ours: a tunnel or an internal port of Open vSwitch. */
struct dpusim_indirect {
	struct list_head list;
	struct dpusim_eswitch *esw;
	struct net_device *dev;
	enum flow_block_binder_type binder;
};

static const struct rhashtable_params rule_params = {
	.head_offset = offsetof(struct dpusim_rule, node),
	.key_offset = offsetof(struct dpusim_rule, key),
	.key_len = sizeof(struct dpusim_rule_key),
	.automatic_shrinking = true,
};

static LIST_HEAD(port_block_cbs); /* under rtnl */

static const char *const match_names[] = {
	[FLOW_DISSECTOR_KEY_CONTROL] = "control",
	[FLOW_DISSECTOR_KEY_BASIC] = "basic",
	[FLOW_DISSECTOR_KEY_IPV4_ADDRS] = "ipv4",
	[FLOW_DISSECTOR_KEY_IPV6_ADDRS] = "ipv6",
	[FLOW_DISSECTOR_KEY_PORTS] = "ports",
	[FLOW_DISSECTOR_KEY_ICMP] = "icmp",
	[FLOW_DISSECTOR_KEY_ETH_ADDRS] = "eth",
	[FLOW_DISSECTOR_KEY_ARP] = "arp",
	[FLOW_DISSECTOR_KEY_VLAN] = "vlan",
	[FLOW_DISSECTOR_KEY_TCP] = "tcp",
	[FLOW_DISSECTOR_KEY_IP] = "ip",
	[FLOW_DISSECTOR_KEY_ENC_KEYID] = "tunnel",
	[FLOW_DISSECTOR_KEY_ENC_CONTROL] = "tunnel_control",
	[FLOW_DISSECTOR_KEY_ENC_OPTS] = "tunnel_opts",
	[FLOW_DISSECTOR_KEY_CT] = "ct",
};

static const char *const action_names[NUM_FLOW_ACTIONS] = {
	[FLOW_ACTION_ACCEPT] = "accept",
	[FLOW_ACTION_DROP] = "drop",
	[FLOW_ACTION_TRAP] = "trap",
	[FLOW_ACTION_GOTO] = "goto",
	[FLOW_ACTION_REDIRECT] = "redirect",
	[FLOW_ACTION_MIRRED] = "mirror",
	[FLOW_ACTION_REDIRECT_INGRESS] = "redirect_ingress",
	[FLOW_ACTION_MIRRED_INGRESS] = "mirror_ingress",
	[FLOW_ACTION_VLAN_PUSH] = "vlan_push",
	[FLOW_ACTION_VLAN_POP] = "vlan_pop",
	[FLOW_ACTION_VLAN_MANGLE] = "vlan_modify",
	[FLOW_ACTION_TUNNEL_ENCAP] = "tunnel_encap",
	[FLOW_ACTION_TUNNEL_DECAP] = "tunnel_decap",
	[FLOW_ACTION_MANGLE] = "pedit",
	[FLOW_ACTION_ADD] = "pedit_add",
	[FLOW_ACTION_CSUM] = "csum",
	[FLOW_ACTION_CT] = "ct",
	[FLOW_ACTION_POLICE] = "police",
	[FLOW_ACTION_SAMPLE] = "sample",
	[FLOW_ACTION_CT_METADATA] = "ct_metadata",
};

bool dpusim_is_tunnel(const struct net_device *dev)
{
	return netif_is_geneve(dev) || netif_is_vxlan(dev);
}

/* act_ct: the entries of a zone that conntrack offers for offload, as in mlx5's en/tc_ct.c */

static int ct_entry_cb(enum tc_setup_type type, void *type_data, void *cb_priv)
{
	struct flow_cls_offload *cls = type_data;
	struct dpusim_ct_table *table = cb_priv;

	if (type != TC_SETUP_CLSFLOWER)
		return -EOPNOTSUPP;
	switch (cls->command) {
	case FLOW_CLS_REPLACE:
		atomic_inc(&table->entries);
		return 0;
	case FLOW_CLS_DESTROY:
		atomic_dec(&table->entries);
		return 0;
	case FLOW_CLS_STATS:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static struct dpusim_ct_table *ct_table_new(struct dpusim_eswitch *esw, const struct flow_action_entry *act)
{
	struct dpusim_ct_table *table;
	int err;

	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return ERR_PTR(-ENOMEM);
	table->ft = act->ct.flow_table;
	table->zone = act->ct.zone;
	err = nf_flow_table_offload_add_cb(table->ft, ct_entry_cb, table);
	if (err) {
		kfree(table);
		return ERR_PTR(err);
	}
	list_add_tail(&table->list, &esw->ct_tables);
	esw->nzones++;
	return table;
}

static struct dpusim_ct_table *ct_table_get(struct dpusim_eswitch *esw, const struct flow_action_entry *act,
					    struct netlink_ext_ack *extack)
{
	struct dpusim_ct_table *table;

	list_for_each_entry(table, &esw->ct_tables, list)
		if (table->ft == act->ct.flow_table)
			goto found;
	if (esw->nzones >= READ_ONCE(esw->knobs.zones)) {
		NL_SET_ERR_MSG_MOD(extack, "too many conntrack zones");
		return ERR_PTR(-ENOSPC);
	}
	table = ct_table_new(esw, act);
	if (IS_ERR(table))
		return table;
found:
	table->rules++;
	return table;
}

/* The flow table outlives our last rule: TC tells the driver of a rule's end before it drops the rule's actions. */
static void ct_table_put(struct dpusim_eswitch *esw, struct dpusim_ct_table *table)
{
	if (--table->rules)
		return;
	nf_flow_table_offload_del_cb(table->ft, ct_entry_cb, table);
	list_del(&table->list);
	esw->nzones--;
	kfree(table);
}

/* One rule */

static void rule_free(struct dpusim_eswitch *esw, struct dpusim_rule *rule)
{
	while (rule->ncts)
		ct_table_put(esw, rule->cts[--rule->ncts]);
	kfree(rule);
}

static void describe_actions(struct dpusim_rule *rule, const struct flow_action *action)
{
	const struct flow_action_entry *act;
	struct seq_buf text;
	int i;

	seq_buf_init(&text, rule->actions, sizeof(rule->actions));
	flow_action_for_each(i, act, action) {
		if (i)
			seq_buf_puts(&text, ",");
		if (act->id < NUM_FLOW_ACTIONS && action_names[act->id])
			seq_buf_puts(&text, action_names[act->id]);
		else
			seq_buf_printf(&text, "action%d", act->id);
		if (act->id == FLOW_ACTION_GOTO)
			seq_buf_printf(&text, "(%u)", act->chain_index);
		else if (act->id == FLOW_ACTION_CT)
			seq_buf_printf(&text, "(%u)", act->ct.zone);
		else if (act->id == FLOW_ACTION_REDIRECT || act->id == FLOW_ACTION_MIRRED || act->id == FLOW_ACTION_REDIRECT_INGRESS)
			seq_buf_printf(&text, "(%s)", act->dev->name);
	}
	seq_buf_str(&text); /* ends the text with a zero, cut if it was too long */
}

static struct dpusim_rule *rule_new(struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev)
{
	const struct flow_action *action = &cls->rule->action;
	const struct flow_action_entry *act;
	struct dpusim_ct_table *table;
	struct dpusim_rule *rule;
	int i;

	rule = kzalloc(struct_size(rule, cts, action->num_entries), GFP_KERNEL);
	if (!rule)
		return ERR_PTR(-ENOMEM);
	rule->key.cookie = cls->cookie;
	rule->key.dev = dev;
	rule->chain = cls->common.chain_index;
	rule->prio = cls->common.prio;
	rule->protocol = cls->common.protocol;
	rule->match = cls->rule->match.dissector->used_keys;
	describe_actions(rule, action);
	flow_action_for_each(i, act, action) {
		if (act->id != FLOW_ACTION_CT || !act->ct.flow_table)
			continue; /* "ct clear" has no table */
		table = ct_table_get(esw, act, cls->common.extack);
		if (IS_ERR(table)) {
			rule_free(esw, rule);
			return ERR_CAST(table);
		}
		rule->cts[rule->ncts++] = table;
	}
	return rule;
}

static int flower_replace(struct dpusim_eswitch *esw, struct flow_cls_offload *cls, const struct net_device *dev)
{
	int refusal = dpusim_judge(esw, cls, dev);
	struct dpusim_rule *rule;
	int err;

	if (refusal >= 0) {
		esw->counts.refused[refusal]++;
		NL_SET_ERR_MSG_FMT_MOD(cls->common.extack, "%s", dpusim_refusal(refusal)->text);
		return -EOPNOTSUPP;
	}
	if (esw->nrules >= READ_ONCE(esw->knobs.capacity)) {
		esw->counts.table_full++;
		NL_SET_ERR_MSG_MOD(cls->common.extack, "table full");
		return -ENOSPC;
	}
	rule = rule_new(esw, cls, dev);
	if (IS_ERR(rule))
		return PTR_ERR(rule);
	err = rhashtable_insert_fast(&esw->rules, &rule->node, rule_params);
	if (err) {
		rule_free(esw, rule);
		return err;
	}
	list_add_tail(&rule->list, &esw->rule_list);
	esw->nrules++;
	esw->counts.added++;
	return 0;
}

static void rule_delete(struct dpusim_eswitch *esw, struct dpusim_rule *rule)
{
	rhashtable_remove_fast(&esw->rules, &rule->node, rule_params);
	list_del(&rule->list);
	rule_free(esw, rule);
	esw->nrules--;
	esw->counts.deleted++;
}

/* Under our own lock and not rtnl: TC may call with or without rtnl (cls_flower is TCF_PROTO_OPS_DOIT_UNLOCKED). */
static int flower(struct dpusim_eswitch *esw, struct flow_cls_offload *cls, const struct net_device *dev)
{
	struct dpusim_rule_key key = { .cookie = cls->cookie, .dev = dev };
	struct dpusim_rule *rule;
	int err = 0;

	mutex_lock(&esw->lock);
	if (cls->command == FLOW_CLS_REPLACE) {
		err = flower_replace(esw, cls, dev);
		goto out;
	}
	rule = rhashtable_lookup_fast(&esw->rules, &key, rule_params);
	if (!rule) {
		err = -ENOENT;
		goto out;
	}
	switch (cls->command) {
	case FLOW_CLS_DESTROY:
		rule_delete(esw, rule);
		break;
	case FLOW_CLS_STATS:
		rule->stats_reads++;
		flow_stats_update(&cls->stats, 0, 0, 0, 0, FLOW_ACTION_HW_STATS_DELAYED);
		break;
	default:
		err = -EOPNOTSUPP;
	}
out:
	mutex_unlock(&esw->lock);
	return err;
}

/* Blocks of our own ports */

static int port_block_cb(enum tc_setup_type type, void *type_data, void *cb_priv)
{
	struct flow_cls_offload *cls = type_data;
	struct net_device *dev = cb_priv;
	struct dpusim_end *end = netdev_priv(dev);
	int err;

	if (type != TC_SETUP_CLSFLOWER)
		return -EOPNOTSUPP;
	if (cls->command == FLOW_CLS_REPLACE && !tc_can_offload_extack(dev, cls->common.extack))
		return -EOPNOTSUPP;
	err = flower(end->port->esw, cls, dev);
	if (!err && cls->command == FLOW_CLS_REPLACE)
		atomic_inc(&end->rules);
	else if (!err && cls->command == FLOW_CLS_DESTROY)
		atomic_dec(&end->rules);
	return err;
}

int dpusim_setup_tc(struct net_device *dev, enum tc_setup_type type, void *data)
{
	struct flow_block_offload *block = data;

	if (type != TC_SETUP_BLOCK)
		return -EOPNOTSUPP;
	block->unlocked_driver_cb = true;
	return flow_block_cb_setup_simple(block, &port_block_cbs, port_block_cb, dev, dev, true);
}

/* Blocks of tunnels and internal ports, as in mlx5's en/rep/tc.c */

static int indirect_block_cb(enum tc_setup_type type, void *type_data, void *cb_priv)
{
	struct dpusim_indirect *indirect = cb_priv;
	struct flow_cls_offload *cls = type_data;
	struct dpusim_knobs *knobs = &indirect->esw->knobs;

	if (type != TC_SETUP_CLSFLOWER)
		return -EOPNOTSUPP;
	if (cls->command == FLOW_CLS_REPLACE &&
	    !READ_ONCE(*(dpusim_is_tunnel(indirect->dev) ? &knobs->tunnels : &knobs->internal_ports))) {
		NL_SET_ERR_MSG_MOD(cls->common.extack, "offload on this kind of device is switched off");
		return -EOPNOTSUPP;
	}
	return flower(indirect->esw, cls, indirect->dev);
}

static void indirect_release(void *cb_priv)
{
	struct dpusim_indirect *indirect = cb_priv;

	list_del(&indirect->list);
	kfree(indirect);
}

/* A tunnel's rules are about what comes in; an internal port's about what the DPU itself sends, which is its egress. */
static bool indirect_supported(const struct dpusim_eswitch *esw, const struct net_device *dev, enum flow_block_binder_type binder)
{
	if (!net_eq(dev_net(dev), esw->net))
		return false; /* the tunnel belongs to the e-switch of its own namespace */
	if (dpusim_is_tunnel(dev))
		return binder == FLOW_BLOCK_BINDER_TYPE_CLSACT_INGRESS;
	return netif_is_ovs_master(dev) && binder == FLOW_BLOCK_BINDER_TYPE_CLSACT_EGRESS;
}

static struct dpusim_indirect *indirect_find(struct dpusim_eswitch *esw, const struct net_device *dev,
					     enum flow_block_binder_type binder)
{
	struct dpusim_indirect *indirect;

	list_for_each_entry(indirect, &esw->indirect, list)
		if (indirect->dev == dev && indirect->binder == binder)
			return indirect;
	return NULL;
}

static int indirect_bind(struct dpusim_eswitch *esw, struct net_device *dev, struct Qdisc *sch, struct flow_block_offload *block,
			 void *data, void (*cleanup)(struct flow_block_cb *block_cb))
{
	struct dpusim_indirect *indirect;
	struct flow_block_cb *block_cb;

	if (indirect_find(esw, dev, block->binder_type))
		return -EEXIST;
	indirect = kzalloc(sizeof(*indirect), GFP_KERNEL);
	if (!indirect)
		return -ENOMEM;
	indirect->esw = esw;
	indirect->dev = dev;
	indirect->binder = block->binder_type;
	block_cb = flow_indr_block_cb_alloc(indirect_block_cb, indirect, indirect, indirect_release, block, dev, sch, data, esw, cleanup);
	if (IS_ERR(block_cb)) {
		kfree(indirect);
		return PTR_ERR(block_cb);
	}
	list_add(&indirect->list, &esw->indirect);
	flow_block_cb_add(block_cb, block);
	list_add_tail(&block_cb->driver_list, &esw->block_cbs);
	return 0;
}

static int indirect_unbind(struct dpusim_eswitch *esw, struct net_device *dev, struct flow_block_offload *block)
{
	struct dpusim_indirect *indirect = indirect_find(esw, dev, block->binder_type);
	struct flow_block_cb *block_cb;

	if (!indirect)
		return -ENOENT;
	block_cb = flow_block_cb_lookup(block->block, indirect_block_cb, indirect);
	if (!block_cb)
		return -ENOENT;
	flow_indr_block_cb_remove(block_cb, block);
	list_del(&block_cb->driver_list);
	return 0;
}

static int indirect_setup(struct net_device *dev, struct Qdisc *sch, void *cb_priv, enum tc_setup_type type, void *type_data, void *data,
			  void (*cleanup)(struct flow_block_cb *block_cb))
{
	struct flow_block_offload *block = type_data;
	struct dpusim_eswitch *esw = cb_priv;

	if (type != TC_SETUP_BLOCK || !dev || !indirect_supported(esw, dev, block->binder_type))
		return -EOPNOTSUPP;
	block->unlocked_driver_cb = true;
	block->driver_block_list = &esw->block_cbs;
	switch (block->command) {
	case FLOW_BLOCK_BIND:
		return indirect_bind(esw, dev, sch, block, data, cleanup);
	case FLOW_BLOCK_UNBIND:
		return indirect_unbind(esw, dev, block);
	default:
		return -EOPNOTSUPP;
	}
}

/* The life of it */

int dpusim_offload_init(struct dpusim_eswitch *esw)
{
	mutex_init(&esw->lock);
	INIT_LIST_HEAD(&esw->rule_list);
	INIT_LIST_HEAD(&esw->ct_tables);
	INIT_LIST_HEAD(&esw->indirect);
	INIT_LIST_HEAD(&esw->block_cbs);
	esw->knobs.capacity = 1000000;
	esw->knobs.tunnels = true;
	esw->knobs.internal_ports = true;
	dpusim_set_profile(&esw->knobs, "permissive");
	return rhashtable_init(&esw->rules, &rule_params);
}

int dpusim_offload_start(struct dpusim_eswitch *esw)
{
	return flow_indr_dev_register(indirect_setup, esw);
}

void dpusim_offload_stop(struct dpusim_eswitch *esw)
{
	flow_indr_dev_unregister(indirect_setup, esw, indirect_release);
}

void dpusim_offload_exit(struct dpusim_eswitch *esw)
{
	/* Unbinding a block replays "delete" for all its rules, so nothing may be left. The lab fails on a WARNING. */
	WARN_ON(!list_empty(&esw->rule_list));
	WARN_ON(!list_empty(&esw->ct_tables));
	WARN_ON(!list_empty(&esw->indirect));
	rhashtable_destroy(&esw->rules);
	mutex_destroy(&esw->lock);
}

static void show_match(const struct dpusim_rule *rule, struct seq_file *out)
{
	const char *comma = "";
	int key;

	for (key = 0; key < ARRAY_SIZE(match_names); key++) {
		if (!match_names[key] || !(rule->match & BIT_ULL(key)))
			continue;
		seq_printf(out, "%s%s", comma, match_names[key]);
		comma = ",";
	}
}

void dpusim_show_rules(struct dpusim_eswitch *esw, struct seq_file *out)
{
	const struct dpusim_rule *rule;

	mutex_lock(&esw->lock);
	list_for_each_entry(rule, &esw->rule_list, list) {
		seq_printf(out, "dev=%s chain=%u prio=%u protocol=0x%04x match=", rule->key.dev->name, rule->chain, rule->prio,
			   ntohs(rule->protocol));
		show_match(rule, out);
		seq_printf(out, " actions=%s stats_reads=%llu\n", rule->actions, rule->stats_reads);
	}
	mutex_unlock(&esw->lock);
}

void dpusim_show_counts(struct dpusim_eswitch *esw, struct seq_file *out)
{
	const struct dpusim_counts *counts = &esw->counts;
	const struct dpusim_ct_table *table;
	int bit;

	mutex_lock(&esw->lock);
	seq_printf(out, "rules %u\nadded %llu\ndeleted %llu\ntable_full %llu\n", esw->nrules, counts->added, counts->deleted,
		   counts->table_full);
	list_for_each_entry(table, &esw->ct_tables, list)
		seq_printf(out, "ct_entries:%u %d\n", table->zone, atomic_read(&table->entries));
	for (bit = 0; dpusim_refusal(bit); bit++)
		if (counts->refused[bit])
			seq_printf(out, "refused:%s %llu\n", dpusim_refusal(bit)->word, counts->refused[bit]);
	mutex_unlock(&esw->lock);
}

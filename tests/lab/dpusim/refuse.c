// SPDX-License-Identifier: GPL-2.0
/*
 * Which rules the simulated hardware does not take, and what the driver then says. Each reason has a word; user space turns it on by
 * writing the word to "refuse", and a profile turns on a set of them. Texts that stand for mlx5 are mlx5's own, from
 * drivers/net/ethernet/mellanox/mlx5/core/en/tc_ct.c, en/tc/act/mirred.c and en_tc.c of 6.12.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <net/ip_tunnels.h>

#include "dpusim.h"

static bool has_action(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int id)
{
	const struct flow_action_entry *act;
	int i;

	flow_action_for_each(i, act, &cls->rule->action)
		if (act->id == id)
			return true;
	return false;
}

static bool has_rewrite(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	return has_action(esw, cls, dev, FLOW_ACTION_MANGLE) || has_action(esw, cls, dev, FLOW_ACTION_ADD);
}

static bool has_redirect(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	return has_action(esw, cls, dev, FLOW_ACTION_REDIRECT) || has_action(esw, cls, dev, FLOW_ACTION_REDIRECT_INGRESS);
}

static bool to_itself(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	const struct flow_action_entry *act;
	int i;

	flow_action_for_each(i, act, &cls->rule->action)
		if (act->id == FLOW_ACTION_REDIRECT && act->dev == dev)
			return true;
	return false;
}

/* Ours: a port, a tunnel (its packets leave by the uplink), an internal port of the switch. */
static bool is_reachable(const struct dpusim_eswitch *esw, const struct net_device *dev)
{
	return dpusim_is_port_of(dev, esw) || netif_is_ovs_master(dev) || dpusim_is_tunnel(dev);
}

static bool to_foreign(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	const struct flow_action_entry *act;
	int i;

	flow_action_for_each(i, act, &cls->rule->action)
		if ((act->id == FLOW_ACTION_REDIRECT || act->id == FLOW_ACTION_MIRRED || act->id == FLOW_ACTION_REDIRECT_INGRESS) &&
		    !is_reachable(esw, act->dev))
			return true;
	return false;
}

static bool rewrites_before_ct(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev,
			       int unused)
{
	const struct flow_action_entry *act;
	bool rewritten = false;
	int i;

	flow_action_for_each(i, act, &cls->rule->action) {
		if ((act->id == FLOW_ACTION_MANGLE || act->id == FLOW_ACTION_ADD) && act->mangle.htype != FLOW_ACT_MANGLE_HDR_TYPE_ETH)
			rewritten = true;
		if (act->id == FLOW_ACTION_CT && rewritten)
			return true;
	}
	return false;
}

static bool two_cts(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	const struct flow_action_entry *act;
	int i, cts = 0;

	flow_action_for_each(i, act, &cls->rule->action)
		cts += act->id == FLOW_ACTION_CT;
	return cts > 1;
}

static bool has_key(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int key)
{
	return flow_rule_match_key(cls->rule, key);
}

/* A bit of ct_state that has to be set, as in +rel; not one that has to be clear. */
static bool has_ct_state(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int bit)
{
	struct flow_match_ct match;

	if (!flow_rule_match_key(cls->rule, FLOW_DISSECTOR_KEY_CT))
		return false;
	flow_rule_match_ct(cls->rule, &match);
	return match.key->ct_state & match.mask->ct_state & bit;
}

static bool has_tunnel_flags(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev,
			     int unused)
{
	struct flow_match_control match;

	if (!flow_rule_match_key(cls->rule, FLOW_DISSECTOR_KEY_ENC_CONTROL))
		return false;
	flow_rule_match_enc_control(cls->rule, &match);
	return match.mask->flags;
}

static bool is_fragment(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	struct flow_match_control match;

	if (!flow_rule_match_key(cls->rule, FLOW_DISSECTOR_KEY_CONTROL))
		return false;
	flow_rule_match_control(cls->rule, &match);
	return match.key->flags & match.mask->flags & FLOW_DIS_IS_FRAGMENT;
}

static bool in_later_chain(const struct dpusim_eswitch *esw, const struct flow_cls_offload *cls, const struct net_device *dev, int unused)
{
	return cls->common.chain_index;
}

/* The order is the order in which reasons are looked for; the special ones come first, since their text says more. */
static const struct dpusim_refusal refusals[] = {
	{ "match:ct_rel", "matching on ct_state +rel isn't supported", has_ct_state, TCA_FLOWER_KEY_CT_FLAGS_RELATED },
	{ "match:ct_inv", "matching on ct_state +inv isn't supported", has_ct_state, TCA_FLOWER_KEY_CT_FLAGS_INVALID },
	{ "match:ct_new", "matching on ct_state +new isn't supported", has_ct_state, TCA_FLOWER_KEY_CT_FLAGS_NEW },
	{ "match:ct_est", "matching on ct_state +est isn't supported", has_ct_state, TCA_FLOWER_KEY_CT_FLAGS_ESTABLISHED },
	{ "match:ct", "matching on conntrack isn't supported", has_key, FLOW_DISSECTOR_KEY_CT },
	{ "tunnel_flags", "Unsupported match on enc_control.flags", has_tunnel_flags },
	{ "match:tunnel", "matching on a tunnel isn't supported", has_key, FLOW_DISSECTOR_KEY_ENC_KEYID },
	{ "match:tunnel_opts", "matching on tunnel options isn't supported", has_key, FLOW_DISSECTOR_KEY_ENC_OPTS },
	{ "match:vlan", "matching on VLAN isn't supported", has_key, FLOW_DISSECTOR_KEY_VLAN },
	{ "match:ipv4", "matching on IPv4 addresses isn't supported", has_key, FLOW_DISSECTOR_KEY_IPV4_ADDRS },
	{ "match:ipv6", "matching on IPv6 addresses isn't supported", has_key, FLOW_DISSECTOR_KEY_IPV6_ADDRS },
	{ "match:ports", "matching on L4 ports isn't supported", has_key, FLOW_DISSECTOR_KEY_PORTS },
	{ "match:tcp_flags", "matching on TCP flags isn't supported", has_key, FLOW_DISSECTOR_KEY_TCP },
	{ "match:icmp", "matching on ICMP isn't supported", has_key, FLOW_DISSECTOR_KEY_ICMP },
	{ "match:arp", "matching on ARP isn't supported", has_key, FLOW_DISSECTOR_KEY_ARP },
	{ "match:tos", "matching on TOS and TTL isn't supported", has_key, FLOW_DISSECTOR_KEY_IP },
	{ "match:frag", "matching on fragments isn't supported", is_fragment },
	{ "redirect:self", "can't forward from a VF to itself", to_itself },
	{ "redirect:foreign", "devices are not on same switch HW, can't offload forwarding", to_foreign },
	{ "pedit:before_ct", "can't offload a header rewrite before ct", rewrites_before_ct },
	{ "ct:two", "Multiple CT actions are not supported", two_cts },
	{ "ct", "ct action isn't supported", has_action, FLOW_ACTION_CT },
	{ "pedit", "header rewrite isn't supported", has_rewrite },
	{ "redirect", "redirect action isn't supported", has_redirect },
	{ "mirror", "mirror action isn't supported", has_action, FLOW_ACTION_MIRRED },
	{ "drop", "drop action isn't supported", has_action, FLOW_ACTION_DROP },
	{ "goto", "goto action isn't supported", has_action, FLOW_ACTION_GOTO },
	{ "vlan_push", "vlan push action isn't supported", has_action, FLOW_ACTION_VLAN_PUSH },
	{ "vlan_pop", "vlan pop action isn't supported", has_action, FLOW_ACTION_VLAN_POP },
	{ "tunnel", "tunnel encapsulation isn't supported", has_action, FLOW_ACTION_TUNNEL_ENCAP },
	{ "tunnel_decap", "tunnel decapsulation isn't supported", has_action, FLOW_ACTION_TUNNEL_DECAP },
	{ "csum", "csum action isn't supported", has_action, FLOW_ACTION_CSUM },
	{ "police", "police action isn't supported", has_action, FLOW_ACTION_POLICE },
	{ "sample", "sample action isn't supported", has_action, FLOW_ACTION_SAMPLE },
	{ "chain", "rules in chains other than 0 aren't supported", in_later_chain },
};
static_assert(ARRAY_SIZE(refusals) <= DPUSIM_MAX_REFUSALS);

static const char *const nothing[] = { NULL };
/* tunnel_flags is not among them: it is what mlx5 of 6.12 does, but it takes every decap rule of OVS >= 3.5 out of hardware. */
static const char *const mlx5_words[] = {
	"match:ct_rel", "match:ct_inv", "redirect:self", "redirect:foreign", "pedit:before_ct", "ct:two", NULL,
};

static const struct dpusim_profile profiles[] = {
	{ .name = "permissive", .words = nothing, .zones = 65536 },
	{ .name = "mlx5", .words = mlx5_words, .zones = 255 },
};

const struct dpusim_refusal *dpusim_refusal(unsigned int bit)
{
	return bit < ARRAY_SIZE(refusals) ? &refusals[bit] : NULL;
}

int dpusim_find_refusal(const char *word)
{
	int bit;

	for (bit = 0; bit < ARRAY_SIZE(refusals); bit++)
		if (!strcmp(refusals[bit].word, word))
			return bit;
	return -EINVAL;
}

int dpusim_set_profile(struct dpusim_knobs *knobs, const char *name)
{
	const char *const *word;
	u64 mask = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (strcmp(profiles[i].name, name))
			continue;
		for (word = profiles[i].words; *word; word++)
			mask |= BIT_ULL(dpusim_find_refusal(*word));
		knobs->profile = &profiles[i];
		knobs->profile_refuse = mask;
		knobs->zones = profiles[i].zones;
		return 0;
	}
	return -EINVAL;
}

/* The number of the first reason against the rule, or -1 when there is none. */
int dpusim_judge(const struct dpusim_eswitch *esw, const struct flow_cls_offload *rule, const struct net_device *dev)
{
	u64 refuse = READ_ONCE(esw->knobs.refuse) | READ_ONCE(esw->knobs.profile_refuse);
	int bit;

	for (bit = 0; refuse && bit < ARRAY_SIZE(refusals); bit++)
		if ((refuse & BIT_ULL(bit)) && refusals[bit].applies(esw, rule, dev, refusals[bit].arg))
			return bit;
	return -1;
}

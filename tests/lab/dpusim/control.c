// SPDX-License-Identifier: GPL-2.0
/*
 * The knobs and the counters of an instance, under /sys/kernel/debug/dpusim/dpusimN. Files and not module parameters, because each
 * instance has its own; and a change concerns rules to come, never those already taken, as with real hardware.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dpusim.h"

static struct dentry *root;

static char *read_line(const char __user *buf, size_t count)
{
	if (count >= PAGE_SIZE)
		return ERR_PTR(-E2BIG);
	return memdup_user_nul(buf, count);
}

static int refuse_show(struct seq_file *out, void *unused)
{
	const struct dpusim_eswitch *esw = out->private;
	int bit;

	for (bit = 0; dpusim_refusal(bit); bit++)
		if (esw->knobs.refuse & BIT_ULL(bit))
			seq_printf(out, "%s\n", dpusim_refusal(bit)->word);
	return 0;
}

/* The words replace the earlier ones; none takes all refusals back. An unknown word changes nothing. */
static ssize_t refuse_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct dpusim_eswitch *esw = ((struct seq_file *)file->private_data)->private;
	char *text, *rest, *word;
	ssize_t err = 0;
	u64 mask = 0;
	int bit;

	text = read_line(buf, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	rest = text;
	while ((word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		bit = dpusim_find_refusal(word);
		if (bit < 0) {
			err = bit;
			break;
		}
		mask |= BIT_ULL(bit);
	}
	kfree(text);
	if (err)
		return err;
	WRITE_ONCE(esw->knobs.refuse, mask);
	return count;
}
DEFINE_SHOW_STORE_ATTRIBUTE(refuse);

static int profile_show(struct seq_file *out, void *unused)
{
	const struct dpusim_eswitch *esw = out->private;

	seq_printf(out, "%s\n", esw->knobs.profile->name);
	return 0;
}

static ssize_t profile_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct dpusim_eswitch *esw = ((struct seq_file *)file->private_data)->private;
	char *text;
	int err;

	text = read_line(buf, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	err = dpusim_set_profile(&esw->knobs, strim(text));
	kfree(text);
	return err ?: count;
}
DEFINE_SHOW_STORE_ATTRIBUTE(profile);

static int rules_show(struct seq_file *out, void *unused)
{
	dpusim_show_rules(out->private, out);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rules);

static int counts_show(struct seq_file *out, void *unused)
{
	dpusim_show_counts(out->private, out);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counts);

static int words_show(struct seq_file *out, void *unused)
{
	int bit;

	for (bit = 0; dpusim_refusal(bit); bit++)
		seq_printf(out, "%s: %s\n", dpusim_refusal(bit)->word, dpusim_refusal(bit)->text);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(words);

/* Errors of debugfs are not looked at, as its documentation asks: an instance without knobs still works. */
void dpusim_control_add(struct dpusim_eswitch *esw)
{
	struct dpusim_knobs *knobs = &esw->knobs;

	esw->dir = debugfs_create_dir(dev_name(esw->dev), root);
	debugfs_create_u32("capacity", 0600, esw->dir, &knobs->capacity);
	debugfs_create_u32("zones", 0600, esw->dir, &knobs->zones);
	debugfs_create_bool("tunnels", 0600, esw->dir, &knobs->tunnels);
	debugfs_create_bool("internal_ports", 0600, esw->dir, &knobs->internal_ports);
	debugfs_create_file("refuse", 0600, esw->dir, esw, &refuse_fops);
	debugfs_create_file("profile", 0600, esw->dir, esw, &profile_fops);
	debugfs_create_file("rules", 0400, esw->dir, esw, &rules_fops);
	debugfs_create_file("counts", 0400, esw->dir, esw, &counts_fops);
}

void dpusim_control_del(struct dpusim_eswitch *esw)
{
	debugfs_remove_recursive(esw->dir);
}

void dpusim_control_init(void)
{
	root = debugfs_create_dir("dpusim", NULL);
	debugfs_create_file("words", 0400, root, NULL, &words_fops);
}

void dpusim_control_exit(void)
{
	debugfs_remove_recursive(root);
}

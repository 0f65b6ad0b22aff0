/* What each node's own counters say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/doctor.h"
#include "ctl/prom.h"

#define FREE_BYTES_LOW (512.0 * 1024 * 1024) /* of a file system: below this, or a tenth of what an environment uses, it is nearly full */
#define SHARE_HIGH 0.9                       /* of a limit */
#define EXPIRY_DAYS 14
#define DAY_S (24 * 3600)
#define LABEL_MAX 128

/* What a counter tells: since its node's start, or, with an earlier look, whether it rises. */
struct counter {
	const char *check, *name, *label, *value; /* label NULL: all samples */
	enum finding_severity severity;           /* while it rises; a note else */
	bool grave;                               /* of that severity even where it does not rise */
	const char *text;                         /* with one %.0f */
	const char *remedy;
};

static const struct counter counters[] = {
	{"passed_over", "weir_cloud_passed_over_total", NULL, NULL, FINDING_CRITICAL, true,
	    "%.0f entries could not be applied to damaged records, and no other replica has them: what they held is missing from answers",
	    "nothing brings them back. Replace the disk, and run at least three nodes with `replicas: 3`, which mend each other"},
	{"damaged_state", "weir_cloud_damaged_states_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f times the state of a shard did not read, or was not that of the other replicas, and was had again from them",
	    "look at the disk and the memory of this machine (smartctl, dmesg); restarting the node clears this counter"},
	{"damaged_data", "weir_cloud_damaged_pages_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f pages of its data files were damaged at its start",
	    "it mended itself from the other replicas where there are any; look at the disk (smartctl, dmesg). What was found is in its log"},
	{"damaged_data", "weir_cloud_damaged_records_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f stored records did not read at its start",
	    "it mended itself from the other replicas where there are any; look at the disk (smartctl, dmesg). What was found is in its log"},
	{"damaged_read", "weir_cloud_damaged_reads_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f reads met a stored record that does not read", "look at the disk (smartctl, dmesg), and replace it; the node mends itself from the others"},
	{"set_aside", "weir_cloud_set_aside_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f data folders were damaged and set aside at its start",
	    "look at the disk; data.mdb.damaged in its data folder may be looked into with `weirctl store check`, and removed"},
	{"log_unread", "weir_cloud_log_unread_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f entries of its log did not read, and were not needed", "look at the disk (smartctl, dmesg)"},
	{"undecodable", "weir_cloud_undecodable_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f entries were skipped, by all replicas alike, because they cannot be read", "report it: no build writes such entries"},
	{"keys_broken", "weir_cloud_keys_broken_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f times a file in its key folder did not read", "its log names the file: copy it again (`weirctl keygen` makes them)"},
	{"key_refused", "weir_cloud_handshakes_refused_total", "reason", "unknown_key", FINDING_WARNING, false,
	    "%.0f connections were refused because their key is not known",
	    "copy the missing NAME.pub into its key folder: it is taken up at once; else it is a stranger. Its log has the key"},
	{"key_refused", "weir_cloud_handshakes_refused_total", "reason", "no_curve", FINDING_WARNING, false,
	    "%.0f connections without keys were refused", "a daemon that runs with `security: none`, or a stranger: its log has the address"},
	{"key_refused", "weir_cloud_handshakes_refused_total", "reason", "wrong_server_key", FINDING_WARNING, false,
	    "%.0f connections were made with another public key than this node's", "copy this node's .pub to whoever connects: its log has the address"},
	{"identity_refused", "weir_cloud_identity_refused_total", "reason", "removed_key", FINDING_WARNING, false,
	    "%.0f frames came with a key that is no longer allowed", "give that daemon its new key (`weirctl keygen --rotate NAME`), or stop it"},
	{"identity_refused", "weir_cloud_identity_refused_total", "reason", "unknown_name", FINDING_WARNING, false,
	    "%.0f frames came from a name that is not in the topology", "add it (`weirctl apply`), or stop that daemon and remove its .pub"},
	{"identity_refused", "weir_cloud_identity_refused_total", "reason", "other_name", FINDING_WARNING, false,
	    "%.0f frames gave another name than that of their key", "somebody runs with another one's name or key: its log says who"},
	{"identity_refused", "weir_cloud_identity_refused_total", "reason", "other_edge", FINDING_WARNING, false,
	    "%.0f frames of an edge were about another edge", "an edge may speak only for itself: its log says which"},
	{"zmq_full", "weir_cloud_zmq_shut_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f times new connections of edges or nodes had to wait", "too many are open: look for strangers, or raise its limit of descriptors (ulimit -n)"},
	{"http_full", "weir_cloud_http_connections_ended_total", "reason", "limit", FINDING_WARNING, false,
	    "%.0f HTTP connections were not let in: all were in use", "spread the clients over the nodes, or reuse connections"},
	{"http_full", "weir_cloud_http_connections_ended_total", "reason", "address_limit", FINDING_WARNING, false,
	    "%.0f HTTP connections were not let in: their address had its share", "let that client reuse its connections"},
	{"http_full", "weir_cloud_http_busy_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f HTTP requests were refused: all connections were in use", "spread the clients over the nodes, or reuse connections"},
	{"http_token", "weir_cloud_http_denied_total", "reason", "bad_token", FINDING_NOTE, false,
	    "%.0f HTTP requests came with a token that is not known", "`weirctl token list` on that node's machine shows which are"},
	{"sink_lost", "weir_cloud_sink_resets_total", NULL, NULL, FINDING_WARNING, true,
	    "%.0f times rows were deleted before a sink had delivered them: it was behind by more than an hour, or a million rows",
	    "its log names the sink. What is missing at its receiver can be had with `weirctl query`"},
	{"sink_late", "weir_cloud_sink_gone_rows_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f rows were beyond `retain` before a sink had delivered them", "lengthen `retain`, load history more slowly, or have the receiver take more"},
	{"sink_rejected", "weir_cloud_sink_rejected_rows_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f rows were refused by a sink's receiver, and passed over", "its log names the sink and has the receiver's reason"},
	{"alerts_left_out", "weir_cloud_alert_groups_left_out_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f times a group met an alert's condition and was left out: too many of that alert are pending or firing",
	    "`weirctl alerts` shows which: a condition that most groups meet is none, or the stream needs coarser groups (`by`)"},
	{"alerts_not_judged", "weir_cloud_alert_failures_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f times the alerts of a shard could not be judged", "it is tried again each tenth of a second: look at the disk, and at the node's log"},
	{"disk_was_full", "weir_cloud_disk_full_total", NULL, NULL, FINDING_WARNING, false,
	    "%.0f writes found its disk full", "free space there before it fills again: shorten `retain`, or add nodes (`weirctl node add`)"},
};

static const struct doctor_node *same_node(const struct doctor_look *l, const char *name)
{
	for (size_t i = 0; l && i < l->node_count; i++) {
		if (!strcmp(l->nodes[i].name, name))
			return &l->nodes[i];
	}
	return NULL;
}

static void examine_counter(const struct counter *c, const struct doctor_node *before, const struct doctor_node *n, struct findings *f)
{
	double now = prom_sum(n->metrics, c->name, c->label, c->value);
	double was = before && before->metrics ? prom_sum(before->metrics, c->name, c->label, c->value) : now;
	if (now <= 0)
		return;
	struct finding like = {.severity = c->grave || now > was ? c->severity : FINDING_NOTE, .counted = !c->grave, .check = c->check};
	struct buf text = {0};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	buf_printf(&text, c->text, now);
#pragma GCC diagnostic pop
	findings_add(f, &like, n->name, c->remedy, "%s (since it was started%s)", buf_cstr(&text),
	    now > was ? ", and more come" : before ? ", none just now" : "");
	buf_free(&text);
}

/* ---- disks -------------------------------------------------------------------------------------------------------- */

static void tell_bytes(const struct finding *like, const char *about, const char *remedy, const char *what, double bytes, struct findings *f)
{
	struct buf b = {0};
	buf_put_size(&b, bytes);
	findings_add(f, like, about, remedy, "%s%s", what, buf_cstr(&b));
	buf_free(&b);
}

static void examine_environment(const struct doctor_node *n, const char *environment, struct findings *f)
{
	double used = prom_sum(n->metrics, "weir_cloud_disk_used_bytes", "environment", environment);
	double size = prom_sum(n->metrics, "weir_cloud_disk_size_bytes", "environment", environment);
	double free_bytes = prom_sum(n->metrics, "weir_cloud_disk_free_bytes", "environment", environment);
	char *about = xasprintf("%s, %s", n->name, environment);
	if (prom_has(n->metrics, "weir_cloud_disk_free_bytes") && (free_bytes < FREE_BYTES_LOW || free_bytes < used / 10))
		tell_bytes(&(struct finding){FINDING_WARNING, .check = "disk_nearly_full"}, about,
		    "free space there, shorten `retain` (`weirctl apply`), or add nodes (`weirctl node add`)",
		    "its disk is nearly full: free are ", free_bytes, f);
	if (size > 0 && used > SHARE_HIGH * size)
		tell_bytes(&(struct finding){FINDING_WARNING, .check = "environment_nearly_full"}, about,
		    "shorten `retain` (`weirctl apply`), or add nodes (`weirctl node add`)",
		    "it has nearly grown to its limit of ", size, f);
	free(about);
}

static void examine_disks(const struct doctor_node *n, struct findings *f)
{
	if (prom_sum(n->metrics, "weir_cloud_disk_full", NULL, NULL) > 0)
		findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "disk_full"}, n->name,
		    "free space on its disk: it goes on by itself within seconds. Else shorten `retain` (`weirctl apply`) or add nodes",
		    "its disk is full: it takes nothing new and answers queries; shards go on where the other replicas are a majority");
	examine_environment(n, "log", f);
	examine_environment(n, "state", f);
}

/* ---- limits and certificates ---------------------------------------------------------------------------------------- */

static void examine_limits(const struct doctor_node *n, struct findings *f)
{
	double open = prom_sum(n->metrics, "weir_cloud_http_connections", NULL, NULL);
	double max = prom_sum(n->metrics, "weir_cloud_http_connections_max", NULL, NULL);
	if (max > 0 && open >= SHARE_HIGH * max)
		findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "http_full"}, n->name,
		    "look who holds them (`ss -tn`), spread the clients over the nodes, or let them reuse connections",
		    "%.0f of at most %.0f HTTP connections are open", open, max);
	open = prom_sum(n->metrics, "weir_cloud_zmq_connections", NULL, NULL);
	max = prom_sum(n->metrics, "weir_cloud_zmq_connections_max", NULL, NULL);
	if (max > 0 && open >= SHARE_HIGH * max)
		findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "zmq_full"}, n->name,
		    "look for strangers (`ss -tn`), or raise its limit of descriptors (ulimit -n)",
		    "%.0f of at most %.0f connections of edges and nodes are open", open, max);
}

static void examine_certificate(const struct doctor_node *n, int64_t now_s, struct findings *f)
{
	if (!prom_has(n->metrics, "weir_cloud_http_certificate_expiry_timestamp_seconds"))
		return;
	double left_s = prom_sum(n->metrics, "weir_cloud_http_certificate_expiry_timestamp_seconds", NULL, NULL) - (double)now_s;
	const char *remedy = "`weirctl tls renew`, and copy the new files to its key folder: they are taken up while it runs";
	if (left_s < 0)
		findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "certificate"}, n->name, remedy, "its HTTP certificate has expired");
	else if (left_s < (double)EXPIRY_DAYS * DAY_S)
		findings_add(f, &(struct finding){FINDING_WARNING, .check = "certificate"}, n->name, remedy,
		    "its HTTP certificate expires in %.0f days", left_s / DAY_S);
}

static void examine_outdated(const struct doctor_node *n, struct findings *f)
{
	struct prom_sample s;
	struct names where = {0};
	char group[LABEL_MAX], kind[LABEL_MAX];
	const char *at = n->metrics;
	while (prom_next(&at, &s)) {
		struct buf text = {0};
		if (!prom_is(&s, "weir_cloud_outdated_entry_index") || !prom_label(&s, "group", group, sizeof(group)) ||
		    !prom_label(&s, "kind", kind, sizeof(kind)))
			continue;
		unsigned long number = strtoul(group, NULL, 10);
		if (number)
			buf_printf(&text, "shard %lu", number - 1);
		else
			buf_printf(&text, "the meta group");
		buf_printf(&text, " (entry %.0f, kind %s)", s.value, kind);
		names_add(&where, buf_cstr(&text));
		buf_free(&text);
	}
	if (where.count)
		findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "outdated"}, n->name,
		    "install on this node what the newest node runs (`cloudd --version`), and start it again: it goes on from there by itself",
		    "its replicas stand still before entries of a later version of weir, which it does not know: %s", names_text(&where));
	names_clear(&where);
}

/* One that is tried again is no news at once: receivers are restarted. */
#define SINK_FAILING_S 30.0
#define SINK_FAILING_LONG_S 300.0

static void examine_sinks(const struct doctor_node *n, struct findings *f)
{
	struct prom_sample s;
	char sink[LABEL_MAX];
	const char *at = n->metrics;
	while (prom_next(&at, &s)) {
		if (!prom_is(&s, "weir_cloud_sink_failing_seconds") || s.value < SINK_FAILING_S || !prom_label(&s, "sink", sink, sizeof(sink)))
			continue;
		char *about = xasprintf("%s, sink %s", n->name, sink);
		findings_add(f, &(struct finding){s.value < SINK_FAILING_LONG_S ? FINDING_WARNING : FINDING_CRITICAL, .check = "sink_failing"}, about,
		    "this node's log has the reason: look at the receiver, and at the sink's keys in the topology. It goes on by itself; what waits is kept for an hour",
		    "it has delivered nothing for %.0f s; %.0f rows and %.0f alerts wait", s.value,
		    prom_sum(n->metrics, "weir_cloud_sink_backlog_rows", "sink", sink), prom_sum(n->metrics, "weir_cloud_sink_backlog_alerts", "sink", sink));
		free(about);
	}
}

static void examine_builds(const struct doctor_look *l, struct findings *f)
{
	char first[LABEL_MAX] = "", version[LABEL_MAX];
	for (size_t i = 0; i < l->node_count; i++) {
		struct prom_sample s;
		const char *at = l->nodes[i].metrics;
		while (at && prom_next(&at, &s)) {
			if (!prom_is(&s, "weir_cloud_build_info") || !prom_label(&s, "version", version, sizeof(version)))
				continue;
			if (*first && strcmp(first, version) != 0)
				findings_add(f, &(struct finding){FINDING_NOTE, .check = "mixed_builds"}, l->nodes[i].name,
				    "finish the upgrade: one node after the other", "runs build %s, others %s", version, first);
			if (!*first)
				snprintf(first, sizeof(first), "%s", version);
		}
	}
}

void doctor_examine_metrics(const struct doctor_look *before, const struct doctor_look *now, struct findings *f)
{
	for (size_t i = 0; i < now->node_count; i++) {
		const struct doctor_node *n = &now->nodes[i];
		if (!n->metrics)
			continue;
		examine_disks(n, f);
		examine_limits(n, f);
		examine_certificate(n, now->now_s, f);
		examine_outdated(n, f);
		examine_sinks(n, f);
		for (size_t k = 0; k < sizeof(counters) / sizeof(counters[0]); k++)
			examine_counter(&counters[k], same_node(before, n->name), n, f);
	}
	examine_builds(now, f);
}

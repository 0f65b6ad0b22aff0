/* Edges, readings that were refused or dropped, and streams. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/doctor.h"

#define SHARE_WORTH 0.01 /* of all readings: worth a warning even when it does not go on */
#define REASONS_MAX 64

static json_int_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static bool is(const json_t *object, const char *key, const char *text)
{
	return !strcmp(ctl_text(object, key), text);
}

/* ---- edges -------------------------------------------------------------------------------------------------------- */

enum edge_ail { FENCED, READMITTED, REVOKED, PARTITIONED, UNHEARD, BACKPRESSURED, CATCHING_UP, CLOCK, OLD_MAP, EDGE_AILS };

static const struct {
	struct finding like;
	const char *text, *remedy;
} edge_ails[EDGE_AILS] = {
	[FENCED] = {{FINDING_WARNING, .check = "edge_fenced"},
	    "a holder of this name is fenced: nothing of it is taken, for its spool is older than what the cloud knows, or a copy",
	    "if two daemons run under this name, stop the wrong one. If it is a restored backup or a replaced machine: `weirctl edge readmit "
	    "NAME`, which drops what the cloud may have already"},
	[READMITTED] = {{FINDING_NOTE, .check = "edge_readmit"}, "is to be readmitted when it is heard", "start it, if it does not run"},
	[REVOKED] = {{FINDING_NOTE, .check = "edge_revoked"}, "is revoked: nothing of it is taken", "`weirctl edge allow NAME` takes that back"},
	[PARTITIONED] = {{FINDING_WARNING, .passing = true, .check = "edge_partitioned"},
	    "is not heard: windows close without it, provisionally, and are revised when it is back; what it reads stays in its spool",
	    "look whether edged runs there and reaches the `listen` address of a node; with keys, whether its key is known there. If it is gone "
	    "for good, remove it from the topology (`weirctl apply`)"},
	[UNHEARD] = {{FINDING_NOTE, .check = "edge_unheard"}, "has not been heard yet since the meta group has its leader", "start it, if it does not run"},
	[BACKPRESSURED] = {{FINDING_WARNING, .passing = true, .check = "edge_backpressured"},
	    "its spool is full: it stops reading, so that senders wait or lose",
	    "see whether the cloud takes its batches (shards without a leader, full disks); else free its disk or raise `limits: {disk: ...}`"},
	[CATCHING_UP] = {{FINDING_NOTE, .check = "edge_catching_up"},
	    "delivers what it kept while it was away: windows are revised meanwhile", "wait: `weirctl edges` shows its spool get smaller"},
	[CLOCK] = {{FINDING_WARNING, .passing = true, .check = "edge_clock"},
	    "its clock is not to be trusted, so its readings do not move windows on",
	    "set it right (chrony, systemd-timesyncd), and look at its battery if it boots in the past"},
	[OLD_MAP] = {{FINDING_WARNING, .passing = true, .check = "edge_map_old"}, "goes by an older version of the topology than the cluster",
	    "it takes the newest one with the next answer; if it does not, its log says why (a path or address that it cannot use)"},
};

static bool ails(const json_t *edge, enum edge_ail which, json_int_t newest)
{
	bool heard = json_is_integer(json_object_get(edge, "heard_ms_ago")), away = is(edge, "state", "partitioned");
	if (which != REVOKED && flag(edge, "revoked"))
		return false;
	switch (which) {
	case FENCED:
		return flag(edge, "fenced") || is(edge, "state", "fenced");
	case READMITTED:
		return flag(edge, "readmit");
	case REVOKED:
		return flag(edge, "revoked");
	case PARTITIONED:
		return away;
	case UNHEARD:
		return !heard && !away;
	case BACKPRESSURED:
		return is(edge, "state", "backpressured");
	case CATCHING_UP:
		return is(edge, "state", "catching_up");
	case CLOCK:
		return flag(edge, "clock_suspect");
	case OLD_MAP:
		return heard && !away && integer(edge, "map_version") < newest;
	case EDGE_AILS:
		break;
	}
	return false;
}

static void put_detail(const json_t *edge, enum edge_ail which, struct buf *out)
{
	const json_t *ahead = json_object_get(edge, "clock_ahead_ms"), *heard = json_object_get(edge, "heard_ms_ago");
	buf_printf(out, "%s", ctl_text(edge, "name"));
	if (which == CLOCK && json_is_integer(ahead))
		buf_printf(out, " (%+.1f s)", (double)json_integer_value(ahead) / 1e3);
	else if (which == PARTITIONED && json_is_integer(heard))
		buf_printf(out, " (heard %.0f s ago)", (double)json_integer_value(heard) / 1e3);
	else if (which == OLD_MAP)
		buf_printf(out, " (version %lld)", (long long)integer(edge, "map_version"));
	else if (which == CATCHING_UP || which == BACKPRESSURED) {
		buf_printf(out, " (");
		buf_put_size(out, (double)integer(edge, "spool_bytes"));
		buf_printf(out, ")");
	}
}

static void examine_ail(const struct doctor_look *l, enum edge_ail which, struct findings *f)
{
	struct names names = {0};
	json_int_t newest = integer(l->cluster, "map_version");
	size_t i;
	json_t *edge;
	json_array_foreach (ctl_array(l->edges, "edges"), i, edge) {
		struct buf b = {0};
		if (!ails(edge, which, newest))
			continue;
		put_detail(edge, which, &b);
		names_add(&names, buf_cstr(&b));
		buf_free(&b);
	}
	if (names.count)
		findings_add(f, &edge_ails[which].like, names_text(&names), edge_ails[which].remedy, "%s", edge_ails[which].text);
	names_clear(&names);
}

/* ---- readings ----------------------------------------------------------------------------------------------------- */

struct reason {
	const char *name;
	json_int_t count, most;
	const char *most_at; /* edge or stream */
};

struct reasons {
	size_t count;
	struct reason all[REASONS_MAX];
	json_int_t total; /* readings, of which those are */
};

static void add_reasons(struct reasons *r, const json_t *counts, const char *at)
{
	const char *name;
	json_t *value;
	json_object_foreach ((json_t *)(uintptr_t)counts, name, value) {
		size_t i = 0;
		json_int_t n = json_integer_value(value);
		while (i < r->count && strcmp(r->all[i].name, name) != 0)
			i++;
		if (i == REASONS_MAX)
			continue;
		if (i == r->count)
			r->all[r->count++] = (struct reason){.name = name, .most_at = at};
		r->all[i].count += n;
		if (n > r->all[i].most) {
			r->all[i].most = n;
			r->all[i].most_at = at;
		}
	}
}

/* list: "edges" with accepted and refused, or "streams" with received and dropped. */
static void count_reasons(const json_t *answer, const char *list, const char *total, const char *lost, bool lost_in_total, struct reasons *ret)
{
	size_t i;
	json_t *x;
	*ret = (struct reasons){0};
	json_array_foreach (ctl_array(answer, list), i, x) {
		ret->total += integer(x, total);
		add_reasons(ret, json_object_get(x, lost), ctl_text(x, "name"));
	}
	for (i = 0; i < ret->count && !lost_in_total; i++)
		ret->total += ret->all[i].count;
}

static json_int_t count_of(const struct reasons *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++) {
		if (!strcmp(r->all[i].name, name))
			return r->all[i].count;
	}
	return 0;
}

static int by_count(const void *a, const void *b)
{
	const struct reason *x = a, *y = b;
	return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->name, y->name);
}

static const char *reason_remedy(const char *name)
{
	static const struct {
		const char *name, *remedy;
	} known[] = {
		{"too_far_ahead", "the senders' clocks, or the precision of their timestamps (`?precision=`), or `max_ahead` of the edge"},
		{"bad_timestamp", "the precision and range of the senders' timestamps: nanoseconds by default, `?precision=` on HTTP"},
		{"line_too_long", "the sender: a line may have 64 KiB"},
		{"truncated", "the sender or its link: a connection ended within a line"},
		{"beyond_retain", "`retain` of the stream, and who sends so late: those readings are older than what is kept"},
		{"unknown_stream", "edges that go by another topology: `weirctl apply` brings it to all"},
		{"invalid", "the builds of the edges: partials came that this build does not read"},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(known[i].name, name))
			return known[i].remedy;
	}
	return "what the senders write (line protocol); the edge's log shows a line, and docs/http.md what the reasons mean";
}

static void tell_reasons(struct reasons *now, const struct reasons *before, bool looked_before, const char *check, const char *what, struct findings *f)
{
	qsort(now->all, now->count, sizeof(now->all[0]), by_count);
	for (size_t i = 0; i < now->count && now->all[i].count; i++) {
		const struct reason *r = &now->all[i];
		double share = now->total ? (double)r->count / (double)now->total : 0;
		bool rises = looked_before && r->count > count_of(before, r->name);
		struct finding like = {rises || share >= SHARE_WORTH ? FINDING_WARNING : FINDING_NOTE, .counted = true, .check = check};
		char *remedy = xasprintf("look at %s", reason_remedy(r->name));
		findings_add(f, &like, r->name, remedy, "%lld of %lld readings (%.3g %%) were %s%s; most at %s: %lld", (long long)r->count,
		    (long long)now->total, 100 * share, what, rises ? ", and more are" : "", r->most_at, (long long)r->most);
		free(remedy);
	}
}

static void examine_readings(const struct doctor_look *before, const struct doctor_look *now, struct findings *f)
{
	struct reasons is_now, was;
	count_reasons(now->edges, "edges", "accepted", "refused", false, &is_now);
	count_reasons(before ? before->edges : NULL, "edges", "accepted", "refused", false, &was);
	tell_reasons(&is_now, &was, before && before->edges, "readings_refused", "refused by edges", f);
	count_reasons(now->streams, "streams", "received", "dropped", true, &is_now);
	count_reasons(before ? before->streams : NULL, "streams", "received", "dropped", true, &was);
	tell_reasons(&is_now, &was, before && before->streams, "readings_dropped", "dropped by the cloud", f);
}

/* ---- streams ------------------------------------------------------------------------------------------------------ */

static bool waits(const json_t *edge, const char *stream)
{
	size_t i;
	json_t *name;
	json_array_foreach (ctl_array(edge, "cutover_waits"), i, name) {
		if (json_is_string(name) && !strcmp(json_string_value(name), stream))
			return !is(edge, "state", "partitioned"); /* those are not waited for */
	}
	return false;
}

static void examine_pending(const struct doctor_look *l, const char *stream, struct findings *f)
{
	struct names names = {0};
	size_t i;
	json_t *edge;
	json_array_foreach (ctl_array(l->edges, "edges"), i, edge) {
		if (waits(edge, stream))
			names_add(&names, ctl_text(edge, "name"));
	}
	struct finding like = {FINDING_WARNING, .passing = true, .check = "stream_pending"};
	if (names.count)
		findings_add(f, &like, stream, "see whether those edges run, and go by the newest topology (`weirctl edges`); one that is gone for "
		                               "good is not waited for once it counts as partitioned, or is removed",
		    "its next version does not take over before these edges feed it: %s", names_text(&names));
	else
		findings_add(f, &(struct finding){FINDING_NOTE, .check = "stream_pending"}, stream, "wait; the old version answers until then",
		    "its next version takes over at a boundary of both");
	names_clear(&names);
}

static void examine_streams(const struct doctor_look *l, struct findings *f)
{
	size_t i;
	json_t *s;
	json_array_foreach (ctl_array(l->streams, "streams"), i, s) {
		if (is(s, "phase", "pending"))
			examine_pending(l, ctl_text(s, "name"), f);
		if (integer(s, "overflowed") > 0)
			findings_add(f, &(struct finding){FINDING_WARNING, .check = "stream_groups"}, ctl_text(s, "name"),
			    "group by fewer or less varied tags, or raise `max_groups` (`weirctl apply`)",
			    "%lld readings came to groups above `max_groups`: they are counted together", (long long)integer(s, "overflowed"));
	}
}

static void tell_error(const char *about, const char *error, struct findings *f)
{
	findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "not_answered"}, about,
	    "what else is told here is the likely reason; with tokens, the one given needs the role `read`", "could not be asked for: %s", error);
}

void doctor_examine_edges(const struct doctor_look *before, const struct doctor_look *now, struct findings *f)
{
	if (now->edges_error)
		tell_error("edges", now->edges_error, f);
	if (now->streams_error)
		tell_error("streams", now->streams_error, f);
	for (int i = 0; i < EDGE_AILS; i++)
		examine_ail(now, (enum edge_ail)i, f);
	examine_streams(now, f);
	examine_readings(before, now, f);
}

#include "cloudd/disks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/kv_salvage.h"

/* ---- aside ------------------------------------------------------------------------------------------------------ */

int disks_set_aside(const char *data, const char *name, char **ret_why)
{
	char *folder = xasprintf("%s/%s", data, name);
	int rc = kv_set_aside(folder, ret_why);
	free(folder);
	return rc;
}

/* ---- what is found ------------------------------------------------------------------------------------------------ */

struct group_seen {
	struct digest digest;
	struct state_head head;
	bool has_head, any;
	uint64_t bad_records;
};

struct look {
	const struct disks *disks;
	struct disks_report *report;
	struct group_seen *groups; /* NULL: a log */
	uint32_t group_count;
	const char **names;
};

static void put_key(struct buf *out, struct bytes key)
{
	for (size_t i = 0; i < key.n && i < 24; i++)
		buf_printf(out, key.p[i] > ' ' && key.p[i] < 127 ? "%c" : "\\x%02x", key.p[i]);
	if (key.n > 24)
		buf_printf(out, "...");
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	struct look *l = arg;
	struct disks_report *r = l->report;
	if (r->place_count < DISKS_PLACES_MAX) {
		struct buf b = {0};
		buf_printf(&b, "%s; page=%llu", d->what, (unsigned long long)d->page);
		if (d->db[0])
			buf_printf(&b, " database=%s", d->db);
		if (d->low.n) {
			buf_printf(&b, " key=");
			put_key(&b, d->low);
		}
		snprintf(r->places[r->place_count++], sizeof(r->places[0]), "%s", buf_cstr(&b));
		buf_free(&b);
	}
	for (uint32_t g = 0; l->groups && d->record && g < l->group_count; g++) {
		if (!strcmp(d->db, l->names[STATE_DB_GROUP(g)]))
			l->groups[g].bad_records++;
	}
}

static int on_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct look *l = arg;
	(void)name;
	if (db == STATE_DB_NODE || !l->groups)
		return 0;
	struct group_seen *g = &l->groups[db - STATE_DB_GROUP(0)];
	g->any = true;
	if (state_digest_add(&g->digest, key, value))
		return 0;
	g->has_head = !state_head_decode(value, &g->head);
	g->bad_records += !g->has_head;
	return 0;
}

static void on_progress(void *arg, uint64_t pages, uint64_t of_pages)
{
	const struct disks *d = ((const struct look *)arg)->disks;
	(void)pages, (void)of_pages;
	if (d->progress)
		d->progress(d->arg);
}

static int check(const char *path, struct look *l, unsigned dbs, char **ret_why)
{
	struct kv_check_options o = {.path = path, .dbs = l->names, .db_count = dbs, .arg = l, .record = on_record,
	    .damage = on_damage, .progress = on_progress};
	on_progress(l, 0, 0);
	int64_t began_ns = clock_mono_ns();
	int rc = kv_check(&o, &l->report->check, ret_why);
	l->report->took_ns = clock_mono_ns() - began_ns;
	l->report->present = !rc;
	if (rc == WEIR_ENOTFOUND) {
		free(*ret_why);
		*ret_why = NULL;
		return 0;
	}
	return rc;
}

static int save_rest(struct look *l, unsigned dbs, uint64_t map_bytes, char **ret_why)
{
	char *folder = xasprintf("%s/state", l->disks->data);
	struct kv_salvage_options o = {.folder = folder, .dbs = l->names, .db_count = dbs, .map_bytes = map_bytes, .arg = l, .progress = on_progress};
	int rc = kv_salvage(&o, ret_why);
	free(folder);
	return rc;
}

/* ---- the state -------------------------------------------------------------------------------------------------------- */

/* A file that is whole: the group's records are, and are all there. */
static bool is_whole(const struct group_seen *g)
{
	if (g->bad_records || (g->any && !g->has_head))
		return false;
	return g->head.is_void || (g->digest.hi == g->head.digest.hi && g->digest.lo == g->head.digest.lo);
}

/* Nobody else has it: records that do not read are known by their keys, and who needs them is told. The meta group is of use only as
 * a whole. */
static bool is_of_use(const struct group_seen *g, uint32_t number, const struct disks_report *r)
{
	return number && g->has_head && g->bad_records && !r->check.bad_pages;
}

static void judge_groups(const struct topology *t, const struct look *l, bool *ret_void)
{
	for (uint32_t i = 0; i < l->group_count; i++) {
		const struct group_seen *g = &l->groups[i];
		ret_void[i] = !is_whole(g) && !(topology_replicas(t, 0) == 1 && is_of_use(g, i, l->report));
		l->report->damaged += ret_void[i];
	}
}

int disks_check_state(const struct disks *d, uint64_t map_bytes, bool *ret_void, struct disks_report *ret, char **ret_why)
{
	struct disks_report report = {0};
	struct look l = {d, &report, NULL, topology_groups(d->t), apply_db_names(d->t->shards)};
	l.groups = xcalloc(l.group_count, sizeof(*l.groups));
	char *path = xasprintf("%s/state", d->data);
	int rc = check(path, &l, STATE_DBS(d->t->shards), ret_why);
	bool pages = !rc && report.check.bad_pages, mend = pages && !d->look_only;
	if (mend && topology_replicas(d->t, 0) == 1) {
		rc = save_rest(&l, STATE_DBS(d->t->shards), map_bytes, ret_why);
		report.aside = report.salvaged = !rc;
	} else if (mend) {
		rc = disks_set_aside(d->data, "state", ret_why);
		report.aside = !rc;
	}
	if (!rc && report.present && (!pages || report.salvaged))
		judge_groups(d->t, &l, ret_void);
	if (!rc)
		*ret = report;
	free(path);
	free(l.groups);
	free(l.names);
	return rc;
}

int disks_check_log(const struct disks *d, struct disks_report *ret, char **ret_why)
{
	struct disks_report report = {0};
	struct look l = {d, &report, NULL, 0, apply_db_names(d->t->shards)};
	char *path = xasprintf("%s/log", d->data);
	int rc = check(path, &l, STATE_DBS(d->t->shards), ret_why);
	if (!rc && report.check.bad_pages && !d->look_only) {
		rc = disks_set_aside(d->data, "log", ret_why);
		report.aside = !rc;
	}
	if (!rc)
		*ret = report;
	free(path);
	free(l.names);
	return rc;
}

#include "edged/salvage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/kv_salvage.h"
#include "edged/pipeline.h"
#include "edged/spool.h"

struct look {
	const struct salvage_watch *watch;
	struct salvage_report *report;
	bool bad_marks, bad_copies; /* records of trees that are whole */
	bool has_copies;
	bool marks_whole; /* as the tree of marks says; else they are had from their copies */
	struct spool_salvage before;
};

static void note_place(struct salvage_report *r, const struct kv_damage *d)
{
	if (r->place_count == SALVAGE_PLACES_MAX)
		return;
	snprintf(r->places[r->place_count++], sizeof(r->places[0]), "%s; page=%llu%s%s", d->what, (unsigned long long)d->page,
	    d->db[0] ? " database=" : "", d->db);
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	struct look *l = arg;
	struct bytes mark;
	note_place(l->report, d);
	if (!d->record)
		return;
	l->bad_marks |= !strcmp(d->db, spool_db_names[SPOOL_MARK]);
	l->bad_copies |= !strcmp(d->db, spool_db_names[SPOOL_STEP]) && spool_is_copy(d->low, &mark);
}

static bool is_key(struct bytes key, const char *text)
{
	return key.n == strlen(text) && memcmp(key.p, text, key.n) == 0;
}

static int on_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct look *l = arg;
	struct bytes mark = key;
	(void)name;
	if (db == SPOOL_STEP && !spool_is_copy(key, &mark))
		return 0;
	if (db != SPOOL_STEP && db != SPOOL_MARK)
		return 0;
	l->has_copies |= db == SPOOL_STEP && is_key(mark, "spool"); /* written with the first commit: then there are all of them */
	if (is_key(mark, SPOOL_SALVAGED))
		spool_salvage_decode(value, &l->before);
	return 0;
}

static int save(void *arg, struct kv_txn *txn, unsigned db, struct bytes key, struct bytes value)
{
	struct look *l = arg;
	struct bytes mark;
	if (l->report->nothing)
		return 0;
	l->report->copied++;
	int rc = kv_put(txn, db, key, value);
	if (!rc && db == SPOOL_STEP && !l->marks_whole && spool_is_copy(key, &mark))
		rc = kv_put(txn, SPOOL_MARK, mark, value);
	return rc;
}

static int finish(void *arg, struct kv_txn *txn)
{
	const struct look *l = arg;
	struct spool_salvage s = {.state = l->report->marks_lost ? SALVAGED_LOST : SALVAGED_MARKS,
	    .salvages = l->before.salvages + 1,
	    .losses = l->before.losses};
	struct buf value = {0};
	spool_salvage_encode(&s, &value);
	int rc = kv_put(txn, SPOOL_MARK, bytes_of(SPOOL_SALVAGED, strlen(SPOOL_SALVAGED)), bytes_of(value.data, value.len));
	buf_free(&value);
	return rc;
}

static void on_progress(void *arg, uint64_t pages, uint64_t of_pages)
{
	const struct look *l = arg;
	(void)pages, (void)of_pages;
	if (l->watch)
		l->watch->progress(l->watch->arg);
}

static void judge(struct look *l)
{
	struct salvage_report *r = l->report;
	bool all = true;
	for (unsigned db = 0; db < SPOOL_DBS; db++)
		all = all && kv_check_is_sound(&r->check, db);
	bool copies_whole = kv_check_is_sound(&r->check, SPOOL_STEP) && l->has_copies && !l->bad_copies;
	l->marks_whole = kv_check_is_sound(&r->check, SPOOL_MARK) && !l->bad_marks;
	r->nothing = !r->check.list_sound && !all;
	r->marks_lost = r->nothing || !(l->marks_whole || copies_whole);
}

int salvage_spool(const struct kv_lmdb_options *o, const struct salvage_watch *watch, struct salvage_report *ret, char **ret_why)
{
	struct look l = {.watch = watch, .report = ret};
	struct kv_check_options look = {.path = o->path, .dbs = o->dbs, .db_count = o->db_count, .either_meta = true, .arg = &l,
	    .record = on_record, .damage = on_damage, .progress = on_progress};
	*ret = (struct salvage_report){0};
	on_progress(&l, 0, 0);
	int rc = kv_check(&look, &ret->check, ret_why);
	if (rc == WEIR_ENOTFOUND) {
		free(*ret_why);
		*ret_why = NULL;
		return 0;
	}
	if (rc || !ret->check.bad_pages)
		return rc;
	judge(&l);
	struct kv_salvage_options to = {.folder = o->path, .dbs = o->dbs, .db_count = o->db_count, .map_bytes = o->map_bytes,
	    .either_meta = true, .arg = &l, .record = save, .finish = finish, .progress = on_progress};
	rc = kv_salvage(&to, ret_why);
	ret->salvaged = !rc;
	return rc;
}

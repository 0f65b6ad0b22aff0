#include "cloudd/jobs.h"

#include <stdlib.h>
#include <string.h>

#include "cloudd/node.h"
#include "common/buf.h"
#include "common/err.h"

static void *grow(void *items, size_t *cap, size_t size)
{
	*cap = *cap ? *cap * 2 : 16;
	return xrealloc(items, *cap * size);
}

struct log_job *log_job_new(void)
{
	return xcalloc(1, sizeof(struct log_job));
}

void log_job_free(struct log_job *j)
{
	if (!j)
		return;
	free(j->suffixes);
	free(j->truncates);
	free(j->records);
	free(j->appends);
	free(j);
}

void log_job_append(struct log_job *j, const struct log_append *a)
{
	if (j->append_count == j->append_cap)
		j->appends = grow(j->appends, &j->append_cap, sizeof(*j->appends));
	j->appends[j->append_count++] = *a;
	j->append_bytes += a->entry.n;
}

void log_job_suffix(struct log_job *j, uint32_t group, uint64_t from)
{
	if (j->suffix_count == j->suffix_cap)
		j->suffixes = grow(j->suffixes, &j->suffix_cap, sizeof(*j->suffixes));
	j->suffixes[j->suffix_count++] = (struct log_suffix){group, from};
}

void log_job_truncate(struct log_job *j, uint32_t group, uint64_t from, uint64_t upto)
{
	if (j->truncate_count == j->truncate_cap)
		j->truncates = grow(j->truncates, &j->truncate_cap, sizeof(*j->truncates));
	j->truncates[j->truncate_count++] = (struct log_truncate){group, from, upto};
}

void log_job_record(struct log_job *j, struct bytes key, struct bytes value)
{
	weir_assert(key.n <= LOG_NODE_KEY_MAX && value.n <= LOG_NODE_VALUE_MAX);
	if (j->record_count == j->record_cap)
		j->records = grow(j->records, &j->record_cap, sizeof(*j->records));
	struct log_record *r = &j->records[j->record_count++];
	memcpy(r->key, key.p, key.n);
	r->key_len = key.n;
	memcpy(r->value, value.p, value.n);
	r->value_len = value.n;
}

void log_job_group(struct log_job *j, uint32_t group, const struct log_group *state)
{
	struct buf key = {0}, value = {0};
	buf_u8(&key, LOG_KEY_GROUP);
	buf_be32(&key, group);
	buf_u8(&value, LOG_RECORD_VERSION);
	buf_u64(&value, state->term);
	buf_u64(&value, state->vote);
	buf_u64(&value, state->base_index);
	buf_u64(&value, state->base_term);
	buf_bytes(&value, state->config, state->config_len);
	log_job_record(j, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
	buf_free(&key);
	buf_free(&value);
}

int log_group_decode(struct bytes value, struct log_group *ret_state)
{
	struct rd r = rd_init(value.p, value.n);
	struct log_group s = {0};
	uint8_t version = rd_u8(&r);
	if (!r.err && version != LOG_RECORD_VERSION)
		return WEIR_EVERSION;
	s.term = rd_u64(&r);
	s.vote = rd_u64(&r);
	s.base_index = rd_u64(&r);
	s.base_term = rd_u64(&r);
	const uint8_t *config = rd_bytes(&r, sizeof(s.config), &s.config_len);
	int rc = rd_finish(&r);
	if (rc)
		return rc;
	if (s.config_len)
		memcpy(s.config, config, s.config_len);
	*ret_state = s;
	return 0;
}

static struct bytes index_key(uint64_t index, uint8_t room[8])
{
	for (unsigned i = 0; i < 8; i++)
		room[i] = (uint8_t)(index >> (56 - 8 * i));
	return bytes_of(room, 8);
}

/* The last index in a group's log; 0: it is empty. */
static int last_index(struct kv_txn *txn, uint32_t group, uint64_t *ret_index)
{
	struct kv_cursor *cursor;
	struct bytes key, value;
	int rc = kv_cursor_open(txn, LOG_DB_GROUP(group), &cursor);
	if (rc)
		return rc;
	rc = kv_cursor_last(cursor, &key, &value);
	if (!rc) {
		struct rd r = rd_init(key.p, key.n);
		*ret_index = rd_be64(&r);
		rc = rd_finish(&r) ? WEIR_ECORRUPT : 0;
	} else if (rc == WEIR_ENOTFOUND) {
		*ret_index = 0;
		rc = 0;
	}
	kv_cursor_close(cursor);
	return rc;
}

static int write_suffixes(struct kv_txn *txn, const struct log_job *j)
{
	uint8_t key[8];
	for (size_t i = 0; i < j->suffix_count; i++) {
		const struct log_suffix *s = &j->suffixes[i];
		uint64_t last = 0;
		int rc = s->from ? last_index(txn, s->group, &last) : kv_clear(txn, LOG_DB_GROUP(s->group));
		for (uint64_t index = last; !rc && s->from && index >= s->from; index--)
			rc = kv_del(txn, LOG_DB_GROUP(s->group), index_key(index, key));
		if (rc)
			return rc == WEIR_ENOTFOUND ? WEIR_ECORRUPT : rc;
	}
	return 0;
}

static int write_truncates(struct kv_txn *txn, const struct log_job *j)
{
	uint8_t key[8];
	for (size_t i = 0; i < j->truncate_count; i++) {
		const struct log_truncate *t = &j->truncates[i];
		for (uint64_t index = t->from; index <= t->upto; index++) {
			int rc = kv_del(txn, LOG_DB_GROUP(t->group), index_key(index, key));
			if (rc)
				return rc == WEIR_ENOTFOUND ? WEIR_ECORRUPT : rc;
		}
	}
	return 0;
}

static int write_appends(struct kv_txn *txn, const struct log_job *j)
{
	struct buf value = {0};
	uint8_t key[8];
	int rc = 0;
	for (size_t i = 0; !rc && i < j->append_count; i++) {
		const struct log_append *a = &j->appends[i];
		buf_clear(&value);
		buf_u64(&value, a->term);
		buf_u8(&value, a->kind);
		buf_put(&value, a->entry.p, a->entry.n);
		rc = kv_append(txn, LOG_DB_GROUP(a->group), index_key(a->index, key), bytes_of(value.data, value.len));
	}
	buf_free(&value);
	return rc;
}

static int write_records(struct kv_txn *txn, const struct log_job *j)
{
	for (size_t i = 0; i < j->record_count; i++) {
		const struct log_record *r = &j->records[i];
		int rc = kv_put(txn, LOG_DB_NODE, bytes_of(r->key, r->key_len), bytes_of(r->value, r->value_len));
		if (rc)
			return rc;
	}
	return 0;
}

#define APPEND_OVERHEAD_BYTES 64 /* of an entry: its key, heads and place in a page */
#define TREE_PATH_BYTES 8192     /* pages from a database's root to its end: written anew by who changes it */

/* How much the transaction of these appends writes. */
static uint64_t append_need(const struct log_job *j)
{
	uint64_t trees = 2; /* of the node's records, and of the databases' roots */
	for (size_t i = 0; i < j->append_count; i++)
		trees += i == 0 || j->appends[i].group != j->appends[i - 1].group;
	return j->append_bytes + j->append_count * APPEND_OVERHEAD_BYTES + trees * TREE_PATH_BYTES;
}

static int write_job(struct kv *log, const struct log_job *job)
{
	struct kv_txn *txn;
	int rc = kv_begin(log, true, &txn);
	if (rc)
		return rc;
	rc = write_suffixes(txn, job);
	if (!rc)
		rc = write_truncates(txn, job);
	if (!rc)
		rc = write_records(txn, job);
	if (!rc)
		rc = write_appends(txn, job);
	if (rc) {
		kv_abort(txn);
		return rc;
	}
	return kv_commit(txn);
}

/* What a transaction freed can be used by the next but one, and one that fails does not count. So where there is room
 * that cannot be used yet, something small is written: whose log this is, once more. */
static int let_room_ripen(struct kv *log)
{
	struct bytes key = bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), value;
	struct kv_txn *txn;
	int rc = kv_begin(log, true, &txn);
	if (rc)
		return rc;
	if (!kv_get(txn, LOG_DB_NODE, key, &value) && !kv_put(txn, LOG_DB_NODE, key, value))
		return kv_commit(txn);
	kv_abort(txn);
	return 0;
}

int log_job_run(struct kv *log, struct log_job *job)
{
	/* A log that is full of what is no longer needed must be able to get rid of it. */
	int rc = job->append_count ? kv_make_room(log, append_need(job)) : 0;
	if (rc)
		return rc;
	rc = write_job(log, job);
	if (rc != WEIR_EFULL)
		return rc;
	int ripened = let_room_ripen(log); /* full too: as before; but a disk that fails there has failed */
	return ripened ? ripened : rc;
}

struct apply_job *apply_job_new(void)
{
	return xcalloc(1, sizeof(struct apply_job));
}

void apply_job_free(struct apply_job *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < j->done; i++)
		apply_result_clear(&j->results[i]);
	free(j->items);
	free(j->results);
	free(j);
}

void apply_job_add(struct apply_job *j, const struct apply_item *item)
{
	if (j->count == j->cap)
		j->items = grow(j->items, &j->cap, sizeof(*j->items));
	j->items[j->count++] = *item;
	j->bytes += item->bytes.n;
}

static int run_item(struct apply *a, const struct apply_item *i, struct apply_result *ret_result)
{
	switch (i->step) {
	case APPLY_ENTRY:
		return apply_entry(a, i->group, i->index, i->term, i->bytes, ret_result);
	case APPLY_NOOP:
		return apply_noop(a, i->group, i->index, i->term, ret_result);
	case APPLY_CONFIG:
		return apply_config(a, i->group, i->index, i->term, i->bytes, ret_result);
	case APPLY_SNAPSHOT_BEGIN:
		return apply_snapshot_begin(a, i->group);
	case APPLY_SNAPSHOT_RECORDS:
		return apply_snapshot_records(a, i->group, i->bytes);
	case APPLY_SNAPSHOT_END:
		return apply_snapshot_end(a, i->group, i->head);
	case APPLY_SKIP:
		return apply_skip(a, i->group, i->index, i->term, ret_result);
	case APPLY_VOID:
		return apply_void(a, i->group);
	}
	return WEIR_EINVAL;
}

int apply_job_run(struct apply *a, struct apply_job *job)
{
	if (!job->results)
		job->results = xcalloc(job->count, sizeof(*job->results));
	while (job->done < job->count) {
		struct apply_item *i = &job->items[job->done];
		int rc = run_item(a, i, &job->results[job->done]);
		bool foreign = i->step == APPLY_SNAPSHOT_RECORDS || i->step == APPLY_SNAPSHOT_END;
		i->bad = foreign && rc == WEIR_ECORRUPT;
		bool entry = i->step == APPLY_ENTRY || i->step == APPLY_NOOP || i->step == APPLY_CONFIG;
		job->corrupt = entry && rc == WEIR_ECORRUPT;
		job->outdated = entry && rc == WEIR_EVERSION;
		if (rc && !i->bad)
			return rc;
		job->done++;
	}
	return 0;
}

size_t apply_job_count(const struct apply_job *job)
{
	return job->count;
}

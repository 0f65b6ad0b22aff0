#include "cloudd/consensus_alone.h"

#include <string.h>

#include "cloudd/consensus_internal.h"
#include "cloudd/node.h"
#include "cloudd/state.h"
#include "common/buf.h"
#include "common/err.h"

static int check_log(struct kv *log, char **ret_why)
{
	struct kv_txn *txn;
	struct kv_cursor *cursor;
	struct bytes key, value;
	int rc = kv_begin(log, false, &txn);
	if (rc == 0) {
		rc = kv_cursor_open(txn, LOG_DB_NODE, &cursor);
		if (rc == 0) {
			rc = kv_cursor_first(cursor, &key, &value);
			kv_cursor_close(cursor);
		}
		kv_abort(txn);
	}
	if (rc == WEIR_ENOTFOUND)
		return 0;
	*ret_why = rc ? xasprintf("the log cannot be read: %s", err_text(rc))
		      : xasprintf("--begin-alone: there is a log, so this node is a member already; move DATA/log away where nobody else is left "
		                  "of the cluster, and start without --begin-alone where it has begun");
	return rc ? rc : WEIR_EINVAL;
}

/* So far beyond the terms of the state's time that no leader of the old members has had one of its: else entries of theirs, of another
 * content, could pass for its own where one of them comes back with what it had. */
static uint64_t new_term(uint64_t term, uint64_t member)
{
	return term + (UINT64_C(1) << 32) + (member >> CONSENSUS_NODE_BITS & UINT32_MAX);
}

/* What it was begun with: written to the log once the states are. */
struct beginning {
	uint64_t member;
	struct raft_config config;
	struct log_job *job;
};

/* One group's head, with this member alone as its configuration; its log begins behind it. */
static int take_group(struct kv_txn *txn, uint32_t group, struct beginning *b, char **ret_why)
{
	struct state s = {.txn = txn, .db = STATE_DB_GROUP(group)};
	struct state_head head;
	char room[32];
	int rc = state_head_read(txn, s.db, &head);
	if (rc && rc != WEIR_ENOTFOUND && rc != WEIR_ECORRUPT) {
		*ret_why = xasprintf("the state cannot be read: %s", err_text(rc));
		return rc;
	}
	if (rc || head.is_void || !head.applied) {
		*ret_why = xasprintf("--begin-alone: %s has no state here that is whole: begin with a node, or a copy, that has one of every "
		                     "group", group_text(group, room));
		return WEIR_EINVAL;
	}
	head.config_len = raft_config_encode(&b->config, head.config);
	struct log_group log = {.term = new_term(head.term, b->member), .vote = RAFT_NOBODY, .base_index = head.applied, .base_term = head.term,
	    .config_len = head.config_len};
	memcpy(log.config, head.config, head.config_len);
	log_job_group(b->job, group, &log);
	return state_head_write(&s, &head);
}

static int take_groups(const struct topology *t, uint32_t self, struct kv_txn *txn, struct beginning *b, char **ret_why)
{
	char room[32];
	int rc = 0;
	for (uint32_t g = 0; g < topology_groups(t) && !rc; g++) {
		if (topology_rank(t, g, self) >= 0) {
			rc = take_group(txn, g, b, ret_why);
		} else {
			*ret_why = xasprintf("--begin-alone: %s has no place on this node: what it held is not here", group_text(g, room));
			rc = WEIR_EINVAL;
		}
	}
	return rc;
}

static void note_member(const struct topology *t, uint32_t self, struct beginning *b)
{
	struct buf record = {0};
	raft_config_add(&b->config, b->member, true);
	put_node_record(&record, t, self, b->member);
	log_job_record(b->job, bytes_of(LOG_KEY_NODE, strlen(LOG_KEY_NODE)), bytes_of(record.data, record.len));
	buf_free(&record);
}

/* The log goes last: with it this is done. */
int consensus_begin_alone(const struct topology *t, uint32_t self, struct kv *log, struct kv *state, const uint8_t random[8],
    char **ret_why)
{
	struct kv_txn *txn;
	int rc = check_log(log, ret_why);
	if (rc)
		return rc;
	struct beginning b = {.member = new_member(self, random), .job = log_job_new()};
	note_member(t, self, &b);
	rc = kv_begin(state, true, &txn);
	if (!rc) {
		rc = take_groups(t, self, txn, &b, ret_why);
		if (rc)
			kv_abort(txn);
		else
			rc = kv_commit(txn);
	}
	if (!rc)
		rc = log_job_run(log, b.job);
	log_job_free(b.job);
	if (rc && !*ret_why)
		*ret_why = xasprintf("the data cannot be written: %s", err_text(rc));
	return rc;
}

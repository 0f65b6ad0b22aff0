/* Rows of a shard and of its outbox, and how this node's groups are. */
#include <stdlib.h>
#include <string.h>

#include "cloudd/map_apply.h"
#include "cloudd/result.h"
#include "cloudd/serve_parts.h"
#include "common/clock.h"
#include "common/err.h"

const char serve_damaged[] = "a stored record in what is asked for is damaged, and there is no other replica: ask for other "
			     "times or groups";
const char serve_not_leader[] = "this replica does not lead the group";
const char serve_later_map[] = "the shard goes by a later cluster map than the node asked";
const char serve_unknown_stream[] = "unknown stream";
const char serve_unknown_version[] = "another version of the stream or of the protocol";

enum verdict serve_verdict_of(int rc, const char **ret_reason)
{
	switch (rc) {
	case 0:
		return VERDICT_OK;
	case WEIR_ENOTFOUND:
		*ret_reason = serve_unknown_stream;
		return VERDICT_REFUSED;
	case WEIR_EVERSION:
		*ret_reason = serve_unknown_version;
		return VERDICT_REFUSED;
	case WEIR_ECORRUPT:
		*ret_reason = serve_damaged;
		return VERDICT_UNAVAILABLE;
	case WEIR_ETIMEOUT:
		*ret_reason = "it takes too long: ask for shorter windows, or less (where, by)";
		return VERDICT_UNAVAILABLE;
	case WEIR_EBUSY:
		*ret_reason = "too many readers";
		return VERDICT_BUSY;
	case WEIR_ENOTLEADER:
		*ret_reason = serve_not_leader;
		return VERDICT_UNAVAILABLE;
	case WEIR_ECLOSED:
		*ret_reason = "the replica here is empty, or is being rebuilt from a snapshot";
		return VERDICT_UNAVAILABLE;
	default:
		*ret_reason = err_text(rc);
		return VERDICT_UNAVAILABLE;
	}
}

bool serve_holds(struct serve *s, uint32_t group)
{
	struct group_status status;
	if (group >= s->groups)
		return false;
	node_group_status(s->o.node, group, &status);
	return status.held;
}

int serve_begin(struct serve *s, uint32_t group, struct kv_txn **ret_txn, struct apply_group_info *ret_info)
{
	struct kv_txn *txn;
	int rc = kv_begin(s->o.state, false, &txn);
	if (rc)
		return rc;
	rc = apply_read_group(txn, group, ret_info);
	if (!rc && (ret_info->is_void || !ret_info->applied))
		rc = WEIR_ECLOSED;
	if (rc) {
		kv_abort(txn);
		return rc;
	}
	*ret_txn = txn;
	return 0;
}

int serve_map_version(struct kv_txn *txn, uint32_t group, uint64_t *ret_version)
{
	struct bytes raw;
	*ret_version = 0;
	int rc = map_record(txn, STATE_DB_GROUP(group), &raw);
	return rc == WEIR_ENOTFOUND ? 0 : rc ? rc : map_record_error(map_peek_version(raw, ret_version));
}

int serve_note_damage(struct serve *s, uint32_t group, int rc)
{
	if (rc == WEIR_ECORRUPT && s->o.damaged)
		s->o.damaged(s->o.arg, group);
	if (rc != WEIR_ECORRUPT)
		return rc;
	const struct topology *t = node_topology(s->o.node);
	bool alone = topology_replicas(t, group) < 2;
	topology_free(t);
	return alone ? rc : WEIR_ENOTLEADER;
}

/* ---- linearizable ------------------------------------------------------------------------------------------------ */

static uint64_t committed_of(struct serve *s, uint32_t group, const struct group_status *status)
{
	uint64_t committed = progress_committed(s->o.progress, group);
	return status->committed > committed ? status->committed : committed;
}

enum verdict serve_wait_linearizable(struct serve *s, uint32_t group, const char **ret_reason)
{
	int64_t until_ns = clock_mono_ns() + SERVE_WAIT_NS;
	uint64_t index;
	if (!node_serves(s->o.node, group))
		return serve_verdict_of(WEIR_ENOTLEADER, ret_reason);
	int rc = progress_read_index(s->o.progress, group, SERVE_WAIT_NS, &index);
	if (rc == WEIR_ENOTLEADER)
		return serve_verdict_of(rc, ret_reason);
	bool confirmed = !rc;
	if (confirmed)
		rc = progress_wait(s->o.progress, group, index, until_ns - clock_mono_ns());
	if (!rc)
		return VERDICT_OK;
	*ret_reason = rc == WEIR_ECLOSED ? "the node is stopping" :
	    confirmed                ? "the group's state is behind its log" :
				       "no majority of the group answers its leader";
	return VERDICT_UNAVAILABLE;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void age_of(struct serve *s, uint32_t group, const struct apply_group_info *info, struct serve_age *ret)
{
	struct group_status status;
	node_group_status(s->o.node, group, &status);
	uint64_t committed = committed_of(s, group, &status);
	ret->behind_entries = committed > info->applied ? committed - info->applied : 0;
	ret->age_ns = (int64_t)(status.heard_ns < AGE_UNKNOWN ? status.heard_ns : AGE_UNKNOWN);
}

static enum verdict query(struct serve *s, const struct topology *t, uint32_t shard, bool linearizable, struct bytes spec,
    uint64_t map_version, struct buf *rows, bool *ret_more, struct serve_age *ret_age, const char **ret_reason)
{
	uint32_t group = shard + 1;
	struct rows_spec decoded;
	const struct stream_conf *stream;
	int rc = rows_spec_decode(spec, t, &decoded, &stream);
	if (rc) {
		serve_verdict_of(rc, ret_reason);
		return VERDICT_REFUSED;
	}
	int64_t deadline_ns = clock_mono_ns() + SERVE_TIME_NS;
	enum verdict v = linearizable ? serve_wait_linearizable(s, group, ret_reason) : VERDICT_OK;
	if (v != VERDICT_OK)
		return v;
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	rc = serve_begin(s, group, &txn, &info);
	rc = serve_note_damage(s, group, rc);
	if (rc)
		return serve_verdict_of(rc, ret_reason);
	uint64_t shard_version = 0;
	if (linearizable)
		rc = serve_map_version(txn, group, &shard_version);
	if (!rc && map_version && shard_version > map_version) {
		kv_abort(txn);
		*ret_reason = serve_later_map;
		return VERDICT_UNAVAILABLE;
	}
	if (!rc && shard_version > t->map_version)
		rc = WEIR_ENOTLEADER; /* what is coarser by now, or gone, is not known here yet: rows would be left out */
	*ret_age = (struct serve_age){0};
	if (!linearizable)
		age_of(s, group, &info, ret_age);
	if (!rc)
		rc = result_kept(t, txn, shard, stream, &ret_age->kept_ns);
	if (!rc)
		rc = result_query(t, txn, shard, stream, &decoded, deadline_ns, rows, ret_more);
	kv_abort(txn);
	rc = serve_note_damage(s, group, rc);
	return serve_verdict_of(rc, ret_reason);
}

enum verdict serve_query(struct serve *s, uint32_t shard, bool linearizable, struct bytes spec, uint64_t map_version, struct buf *rows,
    bool *ret_more, struct serve_age *ret_age, const char **ret_reason)
{
	if (!serve_holds(s, shard + 1)) {
		*ret_reason = "the shard is not held here";
		return VERDICT_UNAVAILABLE;
	}
	const struct topology *t = node_topology(s->o.node);
	enum verdict v = query(s, t, shard, linearizable, spec, map_version, rows, ret_more, ret_age, ret_reason);
	topology_free(t);
	return v;
}

/* ---- outbox ------------------------------------------------------------------------------------------------------ */

/* A stream as one request sees it. */
struct outbox_of {
	const struct topology *topology; /* held by the request */
	const struct stream_conf *stream;
	uint32_t shard;
};

/* Rows after the place, if any, in one transaction. */
static int read_outbox(struct serve *s, const struct outbox_of *of, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, bool *ret_beyond, uint64_t *ret_gone)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	int rc = serve_begin(s, of->shard + 1, &txn, &info);
	if (rc)
		return rc;
	*ret_beyond = *index != UINT64_MAX && *index > info.applied;
	uint64_t map_version;
	rc = serve_map_version(txn, of->shard + 1, &map_version);
	if (!rc && map_version > of->topology->map_version)
		rc = WEIR_ENOTLEADER; /* which windows are this version's is not known here yet: rows would be passed over */
	if (!rc)
		rc = result_outbox(of->topology, txn, of->shard, of->stream, index, n, limit, rows, ret_reset, ret_gone);
	kv_abort(txn);
	return rc;
}

/* What this replica's state, as it is, has after the place: *ret_any, or rows are an empty page. */
static int look_outbox(struct serve *s, const struct outbox_of *of, uint64_t index, uint32_t n, struct buf *rows,
    bool *ret_any)
{
	size_t before = rows->len;
	uint64_t to_index = index;
	uint32_t to_n = n;
	bool reset = false, beyond = false;
	int rc = read_outbox(s, of, &to_index, &to_n, 1, rows, &reset, &beyond, NULL);
	*ret_any = rc || reset || beyond || to_index != index || to_n != n;
	if (*ret_any)
		rows->len = before;
	return rc == WEIR_ECLOSED ? 0 : rc; /* nothing is durable yet */
}

/* Another replica may have told of a place (gather_outbox_end()) that this leader, which has told of less, has committed and not applied
 * yet: it is none of another history. */
static enum verdict wait_for_place(struct serve *s, uint32_t group, uint64_t index, int64_t until_ns, const char **ret_reason)
{
	struct group_status status;
	node_group_status(s->o.node, group, &status);
	if (index > committed_of(s, group, &status))
		return VERDICT_OK;
	int rc = progress_wait(s->o.progress, group, index, until_ns - clock_mono_ns());
	if (!rc)
		return VERDICT_OK;
	*ret_reason = rc == WEIR_ECLOSED ? "the node is stopping" : "the group's state is behind its log";
	return VERDICT_UNAVAILABLE;
}

/* A replica that takes itself for the leader (it was stopped for a while, or is cut off) may have windows as they were before a
 * later leader told the asker of them; and one that leads now may not have yet what an earlier one told of. So nothing is told
 * but after a read index of this request; that is not asked for with every look. */
static enum verdict prepare_outbox(struct serve *s, const struct outbox_of *of, uint64_t index, uint32_t n, struct buf *rows,
    bool *ret_any, const char **ret_reason)
{
	bool end = index == UINT64_MAX;
	int64_t until_ns = clock_mono_ns() + SERVE_WAIT_NS;
	*ret_any = true;
	if (!node_serves(s->o.node, of->shard + 1))
		return end ? VERDICT_OK : serve_verdict_of(WEIR_ENOTLEADER, ret_reason);
	int rc = end ? 0 : look_outbox(s, of, index, n, rows, ret_any);
	if (rc)
		return serve_verdict_of(rc, ret_reason);
	if (!*ret_any)
		return VERDICT_OK;
	enum verdict v = serve_wait_linearizable(s, of->shard + 1, ret_reason);
	return v == VERDICT_OK && !end ? wait_for_place(s, of->shard + 1, index, until_ns, ret_reason) : v;
}

static enum verdict tell_outbox(struct serve *s, const struct outbox_of *of, uint64_t *index, uint32_t *n, uint32_t limit,
    struct buf *rows, bool *ret_reset, uint64_t *ret_gone, const char **ret_reason)
{
	bool beyond;
	int rc = read_outbox(s, of, index, n, limit, rows, ret_reset, &beyond, ret_gone);
	rc = serve_note_damage(s, of->shard + 1, rc);
	return serve_verdict_of(rc, ret_reason);
}

enum verdict serve_outbox(struct serve *s, uint32_t shard, const char *stream, uint32_t version, uint64_t *index, uint32_t *n,
    uint32_t limit, struct buf *rows, bool *ret_reset, uint64_t *ret_gone, const char **ret_reason)
{
	if (!serve_holds(s, shard + 1)) {
		*ret_reason = "the shard is not held here";
		return VERDICT_UNAVAILABLE;
	}
	struct outbox_of of = {.topology = node_topology(s->o.node), .shard = shard};
	int at = version ? topology_stream_version_of(of.topology, stream, version) : topology_stream(of.topology, stream);
	bool any = false;
	enum verdict v;
	*ret_reset = false;
	if (ret_gone)
		*ret_gone = 0;
	if (at < 0) {
		v = serve_verdict_of(WEIR_ENOTFOUND, ret_reason);
	} else {
		of.stream = &of.topology->streams[at];
		v = prepare_outbox(s, &of, *index, *n, rows, &any, ret_reason);
	}
	if (v == VERDICT_OK && any)
		v = tell_outbox(s, &of, index, n, limit, rows, ret_reset, ret_gone, ret_reason);
	topology_free(of.topology);
	return v;
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

size_t serve_groups(struct serve *s, struct msg_group_status *out)
{
	size_t n = node_groups(s->o.node, out);
	struct kv_txn *txn = NULL;
	if (kv_begin(s->o.state, false, &txn))
		txn = NULL;
	for (size_t i = 0; i < n; i++) {
		struct apply_group_info info = {0};
		out[i].applied = 0;
		if (!txn || apply_read_group(txn, out[i].group, &info) || info.is_void)
			continue;
		out[i].applied = info.applied;
		out[i].digest_hi = info.digest_hi;
		out[i].digest_lo = info.digest_lo;
		out[i].digest_index = info.applied;
	}
	kv_abort(txn);
	return n;
}

void serve_groups_clear(struct msg_group_status *groups, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(groups[i].replicas);
}

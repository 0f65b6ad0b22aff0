#include "cloudd/outbox.h"

#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/shard.h"
#include "cloudd/sweep.h"
#include "common/err.h"

static int absent_is_fine(int rc)
{
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

/* *ret_id 0: the shard has not heard of that version. */
static int read_stream(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, uint32_t *ret_id,
    struct shard_sweep *ret_sweep)
{
	unsigned db = STATE_DB_GROUP(shard + 1);
	*ret_id = 0;
	*ret_sweep = (struct shard_sweep){0};
	int rc = shard_read_id(txn, db, bytes_of(stream->name, strlen(stream->name)), stream->version, ret_id);
	if (!rc)
		rc = shard_read_sweep(txn, db, *ret_id, ret_sweep);
	return absent_is_fine(rc);
}

int outbox_first(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, struct sink_place *ret)
{
	uint32_t id;
	struct shard_sweep sweep;
	int rc = read_stream(txn, shard, stream, &id, &sweep);
	if (!rc)
		*ret = (struct sink_place){sweep.trimmed_index, sweep.trimmed_n};
	return rc;
}

bool outbox_place_of(struct bytes key, const struct state_key *prefix, struct sink_place *ret)
{
	struct bytes rest;
	if (!state_key_rest(key, prefix, &rest))
		return false;
	struct rd r = rd_init(rest.p, rest.n);
	ret->index = rd_be64(&r);
	ret->n = rd_be32(&r);
	return !rd_finish(&r);
}

static int note_age(const struct shard_sweep *sweep, struct bytes value, struct outbox_left *left)
{
	struct outbox_row row;
	int64_t age_ns;
	if (outbox_row_decode(value, &row))
		return WEIR_ECORRUPT;
	if (!__builtin_sub_overflow(sweep->clock_ns, row.time_ns, &age_ns) && age_ns > 0)
		left->age_ns = age_ns;
	left->as_of_ns = sweep->clock_at_ns;
	return 0;
}

int outbox_left(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, struct sink_place place, uint64_t max,
    struct outbox_left *ret)
{
	uint32_t id;
	struct shard_sweep sweep;
	struct outbox_left left = {0};
	struct kv_cursor *c;
	int rc = read_stream(txn, shard, stream, &id, &sweep);
	if (rc || !id) {
		*ret = left;
		return rc;
	}
	rc = kv_cursor_open(txn, STATE_DB_GROUP(shard + 1), &c);
	if (rc)
		return rc;
	struct state_key prefix, k;
	struct bytes key, value;
	struct sink_place at;
	state_key_id(&prefix, STATE_OUTBOX, id);
	state_key_outbox(&k, id, place.index, place.n);
	rc = kv_cursor_seek(c, state_key_bytes(&k), &key, &value);
	while (!rc && left.rows < max && outbox_place_of(key, &prefix, &at)) {
		if (sink_place_before(place, at) && !left.rows++)
			rc = note_age(&sweep, value, &left);
		if (!rc)
			rc = kv_cursor_next(c, &key, &value);
	}
	kv_cursor_close(c);
	rc = absent_is_fine(rc);
	if (!rc)
		*ret = left;
	return rc;
}

#include "cloudd/sink_places.h"

#include <string.h>

#include "cloudd/shard.h"
#include "common/err.h"

/* Key: 'k', sink's name, NUL, id be32. Value: [format u8][index u64][n u32]. */
#define PLACE_FORMAT 1

static void place_key(struct state_key *k, struct bytes sink, uint32_t id)
{
	state_key_version(k, STATE_SINK, sink, id);
}

int sink_place_decode(struct bytes value, struct sink_place *ret)
{
	struct rd r = rd_init(value.p, value.n);
	uint8_t format = rd_u8(&r);
	struct sink_place p;
	p.index = rd_u64(&r);
	p.n = rd_u32(&r);
	if (rd_finish(&r) || format != PLACE_FORMAT)
		return WEIR_ECORRUPT;
	*ret = p;
	return 0;
}

int sink_place_read(struct kv_txn *txn, unsigned db, const char *sink, uint32_t id, struct sink_place *ret)
{
	struct state_key k;
	struct bytes value;
	place_key(&k, bytes_of(sink, strlen(sink)), id);
	int rc = kv_get(txn, db, state_key_bytes(&k), &value);
	return rc ? rc : sink_place_decode(value, ret);
}

/* ---- ENTRY_SINK -------------------------------------------------------------------------------------------- */

static bool knows_sink(const struct shard *sh, struct bytes sink)
{
	char name[NAME_MAX_BYTES + 1];
	memcpy(name, sink.p, sink.n);
	name[sink.n] = 0;
	return sh->mapped && topology_sink(sh->topology, name) >= 0;
}

static int put_place(struct shard *sh, const struct state_key *k, struct sink_place p)
{
	buf_clear(&sh->value);
	buf_u8(&sh->value, PLACE_FORMAT);
	buf_u64(&sh->value, p.index);
	buf_u32(&sh->value, p.n);
	return state_put(sh->state, k, bytes_of(sh->value.data, sh->value.len));
}

static int move_place(struct shard *sh, const struct entry_place *e, uint32_t id)
{
	struct sink_place next = {e->index, e->n}, was;
	struct state_key k;
	struct bytes value;
	place_key(&k, e->sink, id);
	int rc = state_get(sh->state, &k, &value);
	if (rc && rc != WEIR_ENOTFOUND)
		return rc;
	if (!rc && sink_place_decode(value, &was))
		return WEIR_ECORRUPT;
	if (!rc && !sink_place_before(was, next))
		return 0;
	return put_place(sh, &k, next);
}

int sink_places_apply(struct shard *sh, const struct entry *e, uint64_t index)
{
	int rc = 0;
	for (uint32_t i = 0; i < e->sink.count && !rc; i++) {
		const struct entry_place *p = &e->sink.places[i];
		bool alerts = p->version == SINK_PLACE_ALERTS;
		struct shard_stream *s = alerts ? NULL : shard_stream_of(sh, p->stream, p->version);
		if ((!s && !alerts) || p->index >= index || !knows_sink(sh, p->sink))
			continue;
		rc = s ? shard_stream_name(sh, s) : 0; /* so that a place is known from the sink's beginning on */
		if (!rc)
			rc = move_place(sh, p, s ? s->id : SINK_PLACE_ALERTS);
	}
	return rc;
}

/* ---- another map ------------------------------------------------------------------------------------------- */

struct named {
	char sink[NAME_MAX_BYTES + 1];
	uint32_t id;
};

static bool parse_key(struct bytes key, struct named *ret)
{
	struct rd r = rd_init(key.p + 1, key.n - 1);
	if (key.n < 1 + 1 + 1 + 4 || key.n > 1 + NAME_MAX_BYTES + 1 + 4)
		return false;
	size_t n = key.n - 1 - 1 - 4;
	memcpy(ret->sink, rd_raw(&r, n), n);
	ret->sink[n] = 0;
	uint8_t end = rd_u8(&r);
	ret->id = rd_be32(&r);
	return !rd_finish(&r) && !end;
}

/* Whether the version of a stream that has the id is one of next's. */
static int is_of(const struct shard *sh, uint32_t id, const struct topology *next, bool *ret_is)
{
	struct state_key k;
	struct bytes value, name;
	uint32_t version, has;
	char text[NAME_MAX_BYTES + 1];
	*ret_is = id == SINK_PLACE_ALERTS;
	if (*ret_is)
		return 0;
	state_key_id(&k, STATE_STREAM, id);
	int rc = state_get(sh->state, &k, &value);
	if (rc)
		return rc == WEIR_ENOTFOUND ? 0 : rc;
	if (shard_stream_decode(value, &name, &version))
		return WEIR_ECORRUPT;
	memcpy(text, name.p, name.n);
	text[name.n] = 0;
	if (topology_stream_version_of(next, text, version) < 0)
		return 0;
	rc = shard_read_id(sh->state->txn, sh->state->db, bytes_of(text, strlen(text)), version, &has);
	*ret_is = !rc && has == id;
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

static int leave_place(struct shard *sh, const struct state_key *k, const struct topology *next)
{
	struct named n;
	bool stays;
	if (!parse_key(state_key_bytes(k), &n))
		return WEIR_ECORRUPT;
	int rc = is_of(sh, n.id, next, &stays);
	if (rc || (stays && topology_sink(next, n.sink) >= 0))
		return rc;
	return state_del(sh->state, k);
}

int sink_places_leave(struct shard *sh, const struct topology *next)
{
	struct state_key prefix, from, k;
	struct bytes key, value;
	state_key_start(&prefix, STATE_SINK);
	from = prefix;
	int rc;
	while (!(rc = state_first(sh->state, &prefix, &from, &key, &value))) {
		if (key.n > 1 + NAME_MAX_BYTES + 1 + 4)
			return WEIR_ECORRUPT;
		state_key_start(&k, STATE_SINK);
		state_key_bytes_of(&k, bytes_of(key.p + 1, key.n - 1));
		rc = leave_place(sh, &k, next);
		if (rc)
			return rc;
		from = k;
		state_key_u8(&from, 0); /* behind it */
	}
	return rc == WEIR_ENOTFOUND ? 0 : rc;
}

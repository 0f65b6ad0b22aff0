/* What sinks ask of this node's state beside rows. */
#include <string.h>

#include "cloudd/outbox.h"
#include "cloudd/serve_parts.h"
#include "cloudd/shard.h"
#include "common/err.h"

static int read_place(struct kv_txn *txn, uint32_t shard, const struct stream_conf *stream, const char *sink, struct serve_place *ret)
{
	uint32_t id;
	unsigned db = STATE_DB_GROUP(shard + 1);
	struct serve_place p = {0};
	int rc = shard_read_id(txn, db, bytes_of(stream->name, strlen(stream->name)), stream->version, &id);
	if (!rc)
		rc = sink_place_read(txn, db, sink, id, &p.place);
	p.stored = !rc;
	if (rc == WEIR_ENOTFOUND)
		rc = outbox_first(txn, shard, stream, &p.place);
	if (!rc)
		*ret = p;
	return rc;
}

static int read_places(struct serve *s, const struct topology *t, uint32_t shard, const char *sink, struct serve_place *ret_places)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	uint64_t map_version;
	int rc = serve_begin(s, shard + 1, &txn, &info);
	if (rc)
		return rc;
	rc = serve_map_version(txn, shard + 1, &map_version);
	if (!rc && map_version != t->map_version)
		rc = WEIR_ENOTLEADER; /* there may be versions that are not known here yet; or the shard does not take places of the sink yet */
	for (size_t i = 0; i < t->stream_count && !rc; i++)
		rc = read_place(txn, shard, &t->streams[i], sink, &ret_places[i]);
	kv_abort(txn);
	return rc;
}

enum verdict serve_places(struct serve *s, const struct topology *t, uint32_t shard, const char *sink, struct serve_place *ret_places,
    const char **ret_reason)
{
	if (!serve_holds(s, shard + 1)) {
		*ret_reason = "the shard is not held here";
		return VERDICT_UNAVAILABLE;
	}
	enum verdict v = serve_wait_linearizable(s, shard + 1, ret_reason);
	if (v != VERDICT_OK)
		return v;
	int rc = read_places(s, t, shard, sink, ret_places);
	return serve_verdict_of(serve_note_damage(s, shard + 1, rc), ret_reason);
}

int serve_left(struct serve *s, uint32_t shard, const struct stream_conf *stream, struct sink_place place, uint64_t max,
    struct outbox_left *ret)
{
	struct apply_group_info info = {0};
	struct kv_txn *txn;
	int rc = serve_begin(s, shard + 1, &txn, &info);
	if (rc)
		return rc;
	rc = outbox_left(txn, shard, stream, place, max, ret);
	kv_abort(txn);
	return rc;
}

#include "cloudd/alerts_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

struct wanted {
	const char *state, *stream; /* NULL: all */
	uint32_t shard;             /* to go on at */
	uint64_t place;
	uint64_t limit;
};

struct answer {
	struct buf body;
	uint64_t count;
	uint32_t next_shard;
	uint64_t next_place;
	bool more;
};

/* ---- what is asked --------------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t max, uint64_t *ret, const char **ret_end)
{
	uint64_t n = 0;
	const char *at = text;
	for (; *at >= '0' && *at <= '9' && n <= max; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	*ret = n;
	*ret_end = at;
	return at != text && n <= max;
}

static bool parse_limit(const char *text, struct wanted *w)
{
	const char *end;
	return parse_number(text, ALERTS_LIMIT_MAX, &w->limit, &end) && !*end && w->limit;
}

/* SHARD.PLACE: an answer's `next`. */
static bool parse_cursor(const char *text, uint32_t shards, struct wanted *w)
{
	const char *end;
	uint64_t shard;
	if (!parse_number(text, shards - 1, &shard, &end) || *end != '.')
		return false;
	w->shard = (uint32_t)shard;
	return parse_number(end + 1, 999999999, &w->place, &end) && !*end;
}

/* NULL, or what is wrong with it. */
static const char *take_arg(const struct topology *t, const char *name, const char *value, struct wanted *w)
{
	if (!strcmp(name, "state")) {
		w->state = value;
		return !strcmp(value, "pending") || !strcmp(value, "firing") ? NULL : "state: expected pending or firing";
	}
	if (!strcmp(name, "stream")) {
		w->stream = value;
		return NULL;
	}
	if (!strcmp(name, "limit"))
		return parse_limit(value, w) ? NULL : "limit: expected 1 to 10000";
	if (!strcmp(name, "cursor"))
		return parse_cursor(value, t->shards, w) ? NULL : "cursor: it is not the `next` of an answer";
	return "unknown parameter: expected state, stream, limit, cursor";
}

/* False: answered. */
static bool take_args(const struct topology *t, struct http_request *r, struct wanted *w)
{
	*w = (struct wanted){.limit = ALERTS_LIMIT};
	for (size_t i = 0; i < http_arg_count(r); i++) {
		const char *wrong = take_arg(t, http_arg_name(r, i), http_arg_value(r, i), w);
		if (!wrong)
			continue;
		http_reply_error(r, 400, "bad_request", "%s", wrong);
		return false;
	}
	if (w->stream && topology_stream(t, w->stream) < 0) {
		http_reply_error(r, 404, "unknown_stream", "no stream has the name \"%.100s\"", w->stream);
		return false;
	}
	return true;
}

/* ---- the answer -------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct wanted *w, bool firing, struct bytes stream)
{
	if (w->state && firing != !strcmp(w->state, "firing"))
		return false;
	return !w->stream || (stream.n == strlen(w->stream) && !memcmp(stream.p, w->stream, stream.n));
}

/* One piece of a shard's list, from place *at on, which is moved; *ret_next: where the next piece begins, 0: there is none. */
static int put_piece(const struct wanted *w, struct bytes piece, uint64_t *at, struct answer *a, uint64_t *ret_next)
{
	struct rd r = rd_init(piece.p, piece.n);
	*ret_next = rd_varint(&r);
	while (rd_left(&r) && !r.err && a->count < w->limit) {
		struct bytes stream, json;
		bool firing = rd_u8(&r);
		stream.p = rd_bytes(&r, NAME_MAX_BYTES, &stream.n);
		json.p = rd_bytes(&r, SIZE_MAX, &json.n);
		if (r.err)
			break;
		++*at;
		if (!is_wanted(w, firing, stream))
			continue;
		buf_printf(&a->body, a->count++ ? ",\n  " : "\n  ");
		buf_put(&a->body, json.p, json.n);
	}
	a->more = rd_left(&r) > 0 || *ret_next;
	return r.err ? WEIR_ECORRUPT : 0;
}

/* From `place` of the shard's list to its end, or to the limit: then `next` is set. */
static int put_shard(struct gather *g, const struct wanted *w, uint32_t shard, uint64_t place, struct answer *a, char reason[QUERY_REASON_MAX])
{
	do {
		struct buf piece = {0};
		uint64_t at = place, next = 0;
		int rc = gather_alerts(g, shard, place, &piece, reason);
		if (!rc && (rc = put_piece(w, bytes_of(piece.data, piece.len), &at, a, &next)))
			snprintf(reason, QUERY_REASON_MAX, "the answer of shard %u's leader is damaged", shard);
		buf_free(&piece);
		if (rc)
			return rc;
		if (a->more && (a->count >= w->limit || at == place)) {
			a->next_shard = shard;
			a->next_place = at;
			return 0;
		}
		place = at;
	} while (a->more);
	return 0;
}

static int put_all(struct gather *g, const struct wanted *w, struct answer *a, char reason[QUERY_REASON_MAX])
{
	int rc = 0;
	for (uint32_t shard = w->shard; shard < g->topology->shards && !rc && !a->more; shard++) {
		rc = put_shard(g, w, shard, shard == w->shard ? w->place : 0, a, reason);
		if (!rc && !a->more && a->count >= w->limit && shard + 1 < g->topology->shards) {
			a->more = true;
			a->next_shard = shard + 1;
			a->next_place = 0;
		}
	}
	return rc;
}

void alerts_api_get(struct gather *of, struct http_request *r)
{
	struct gather g = gather_pin(of);
	struct wanted w;
	struct answer a = {0};
	char reason[QUERY_REASON_MAX];
	if (!take_args(g.topology, r, &w)) {
		gather_unpin(&g);
		return;
	}
	buf_printf(&a.body, "{\"alerts\": [");
	int rc = put_all(&g, &w, &a, reason);
	if (a.more)
		buf_printf(&a.body, "], \"next\": \"%u.%llu\"}\n", a.next_shard, (unsigned long long)a.next_place);
	else
		buf_printf(&a.body, "], \"next\": null}\n");
	if (rc) {
		http_add_header(r, "Retry-After", "1");
		http_reply_error(r, 503, "unavailable", "%s", reason);
	} else {
		http_reply(r, 200, "application/json", a.body.data, a.body.len);
	}
	buf_free(&a.body);
	gather_unpin(&g);
}

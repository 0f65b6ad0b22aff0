#include "cloudd/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloudd/row_json.h"
#include "common/clock.h"
#include "common/err.h"

#define PIECE_BYTES (64 * 1024)

struct watch {
	struct gather first, now; /* pinned: what the arguments are of, and what is asked by */
	struct http_server *server;
	struct query_args args;
	struct partial_spec spec;
	struct watch_place *places; /* by shard */
	uint32_t shards;
	uint32_t next;              /* shard to ask next */
	int64_t *ask_again_ns;      /* by node: one that did not answer */
	bool greeted;
	int64_t wrote_ns;           /* when bytes were last sent */
	pthread_mutex_t mutex;
	pthread_cond_t never;       /* to pause on */
};

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* Each shard's place is the end of its outbox. */
static int find_ends(struct watch *w, struct query_error *error)
{
	int64_t until_ns = clock_mono_ns() + WATCH_OPEN_NS;
	for (uint32_t i = 0; i < w->shards; i++) {
		char reason[QUERY_REASON_MAX];
		int rc = gather_outbox_end(&w->now, i, w->args.spec.stream, until_ns - clock_mono_ns(), &w->places[i].index,
		    &w->places[i].n, reason);
		if (rc) {
			*error = (struct query_error){503, "unavailable", ""};
			snprintf(error->message, sizeof(error->message), "%s", reason);
			return rc;
		}
	}
	return 0;
}

int watch_open(struct gather *g, struct http_server *server, struct query_args *args, const char *last_id,
    struct watch **ret_watch, struct query_error *ret_error)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	w->first = w->now = *g; /* the arguments are of its topology */
	topology_hold(g->topology);
	topology_hold(g->topology);
	w->server = server;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->never, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&w->mutex, NULL);
	w->args = *args;
	*args = (struct query_args){0};
	w->shards = w->first.topology->shards;
	w->places = xcalloc(w->shards, sizeof(*w->places));
	w->ask_again_ns = xcalloc(CLOUDS_MAX, sizeof(*w->ask_again_ns));
	partial_spec_of(w->args.stream, topology_distinct_seed(w->first.topology), PARTIAL_QUANTILE_CAP_CLOUD, &w->spec);
	int rc;
	if (last_id && *last_id) {
		rc = watch_id_get(last_id, w->args.stream->version, w->places, w->shards);
		if (rc)
			*ret_error = (struct query_error){400, "bad_cursor", "the last event id is not one of this stream"};
	} else {
		rc = find_ends(w, ret_error);
	}
	if (rc) {
		watch_close(w);
		return rc;
	}
	*ret_watch = w;
	return 0;
}

void watch_close(void *watch)
{
	struct watch *w = watch;
	query_args_clear(&w->args);
	gather_unpin(&w->first);
	gather_unpin(&w->now);
	pthread_cond_destroy(&w->never);
	pthread_mutex_destroy(&w->mutex);
	free(w->ask_again_ns);
	free(w->places);
	free(w);
}

/* ---- following -------------------------------------------------------------------------------------------------- */

static void put_id(struct watch *w, struct buf *out)
{
	buf_printf(out, "id: ");
	watch_id_put(w->args.stream->version, w->places, w->shards, out);
	buf_printf(out, "\n");
}

/* Writes the rows, each with the place behind it. A bad page is an error, never half a page passed over. */
static int put_rows(struct watch *w, uint32_t shard, const struct buf *rows, struct buf *out)
{
	struct rows_reader *reader;
	struct row *row;
	int rc = rows_reader_open(bytes_of(rows->data, rows->len), &w->spec, &reader);
	if (rc)
		return rc;
	while ((rc = rows_reader_next(reader, &row)) > 0) {
		w->places[shard] = (struct watch_place){row->outbox_index, row->outbox_n};
		put_id(w, out);
		buf_printf(out, "data: ");
		row_json_put(&w->args, &w->spec, row, out);
		buf_printf(out, "\n\n");
	}
	rows_reader_close(reader);
	return rc;
}

/* Asks one shard. Its being away, or without a leader, is no error: it is asked again. */
static int poll_shard(struct watch *w, uint32_t shard, struct buf *out)
{
	struct watch_place place = w->places[shard];
	struct buf rows = {0};
	bool reset = false;
	char reason[QUERY_REASON_MAX];
	int node;
	int rc = gather_outbox(
	    &w->now, shard, w->args.spec.stream, &place.index, &place.n, WATCH_ROWS, &rows, &reset, &node, reason);
	if (rc) {
		if (rc != WEIR_ENOTLEADER && node >= 0 && (uint32_t)node != w->now.self)
			w->ask_again_ns[node] = clock_mono_ns() + WATCH_AWAY_MS * NS_PER_MS;
		buf_free(&rows);
		return 0;
	}
	if (reset) {
		put_id(w, out);
		buf_printf(out, "event: reset\ndata: {\"shard\": %u}\n\n", shard);
	}
	rc = put_rows(w, shard, &rows, out);
	if (!rc)
		w->places[shard] = place; /* may be further than the last row */
	buf_free(&rows);
	return rc;
}

static void pause_ms(struct watch *w, int64_t ms)
{
	int64_t until_ns = clock_mono_ns() + ms * NS_PER_MS;
	struct timespec ts = {(time_t)(until_ns / NS_PER_SEC), (long)(until_ns % NS_PER_SEC)};
	pthread_mutex_lock(&w->mutex);
	while (pthread_cond_timedwait(&w->never, &w->mutex, &ts) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&w->mutex);
}

/* With the place: what was passed over without a row to tell would else be asked for again after a long silence, when it
 * has left the outbox. */
static void put_keepalive(struct watch *w, struct buf *out)
{
	put_id(w, out);
	buf_printf(out, ": still here\n\n");
}

/* Asks every shard once, from where the last piece ended. */
static int poll_all(struct watch *w, struct buf *out)
{
	for (uint32_t i = 0; i < w->shards && out->len < PIECE_BYTES && !http_stopping(w->server); i++) {
		int leader = node_leader(w->now.node, w->next + 1);
		bool away = leader >= 0 && w->ask_again_ns[leader] > clock_mono_ns();
		int rc = away ? 0 : poll_shard(w, w->next, out);
		if (rc)
			return rc;
		w->next = (w->next + 1) % w->shards;
	}
	return 0;
}

int watch_fill(void *watch, struct buf *out)
{
	struct watch *w = watch;
	if (!w->greeted) { /* tells the client where it is, so that it can come back even before the first row */
		put_id(w, out);
		buf_printf(out, "retry: 1000\n: watching %s\n\n", w->args.spec.stream);
		w->greeted = true;
		w->wrote_ns = clock_mono_ns();
		return 1;
	}
	while (!http_stopping(w->server)) {
		struct gather before = w->now;
		w->now = gather_pin(&before);
		gather_unpin(&before);
		int rc = poll_all(w, out);
		if (rc)
			return rc;
		if (!out->len && clock_mono_ns() - w->wrote_ns >= WATCH_KEEPALIVE_MS * NS_PER_MS)
			put_keepalive(w, out);
		if (out->len) {
			w->wrote_ns = clock_mono_ns();
			return 1;
		}
		pause_ms(w, WATCH_POLL_MS);
	}
	return 0;
}

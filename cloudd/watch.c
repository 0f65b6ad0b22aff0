#include "cloudd/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/row_group.h"
#include "common/row_json.h"

#define PIECE_BYTES (64 * 1024)

/* A version of the stream that is followed. */
struct followed {
	struct partial_spec spec;
	uint32_t version;
	size_t at; /* in args.versions */
	struct watch_place *places; /* by shard */
};

struct watch {
	struct gather first, now; /* pinned: what the arguments are of, and what is asked by */
	struct http_server *server;
	struct query_args args;
	char *stream;
	struct query_arg *wanted;   /* stream and where, with copies of all texts: another topology makes other arguments of them */
	size_t wanted_count;
	struct followed followed[WATCH_VERSIONS_MAX]; /* the oldest first */
	uint32_t followed_count;
	uint32_t shards;
	uint32_t next;              /* shard to ask next */
	int64_t *ask_again_ns;      /* by node: one that did not answer */
	bool greeted;
	bool moved;                 /* rows have come since the last pause, though none may be told */
	int64_t wrote_ns;           /* when bytes were last sent */
	pthread_mutex_t mutex;
	pthread_cond_t never;       /* to pause on */
};

/* ---- versions ----------------------------------------------------------------------------------------------------- */

static void unfollow(struct watch *w, uint32_t i)
{
	free(w->followed[i].places);
	w->followed_count--;
	memmove(&w->followed[i], &w->followed[i + 1], (w->followed_count - i) * sizeof(w->followed[0]));
}

static struct followed *follow(struct watch *w, uint32_t version)
{
	if (w->followed_count == WATCH_VERSIONS_MAX)
		unfollow(w, 0);
	struct followed *f = &w->followed[w->followed_count++];
	*f = (struct followed){.version = version};
	f->places = xcalloc(w->shards, sizeof(*f->places));
	return f;
}

static struct followed *find_followed(struct watch *w, uint32_t version)
{
	for (uint32_t i = 0; i < w->followed_count; i++) {
		if (w->followed[i].version == version)
			return &w->followed[i];
	}
	return NULL;
}

/* Whether its windows can still close: of others only late revisions could be told. */
static bool is_lively(const struct query_args *args, size_t i)
{
	return args->versions[i].stream->phase != STREAM_RETIRED || i + 1 == args->version_count;
}

/* Those that the arguments have, and it has no place in yet: from their beginning. */
static void follow_new(struct watch *w)
{
	for (size_t i = 0; i < w->args.version_count; i++) {
		uint32_t version = w->args.versions[i].stream->version;
		if (is_lively(&w->args, i) && !find_followed(w, version))
			follow(w, version);
	}
}

/* Where the arguments have what is followed; what they do not have any more is let go. */
static void settle(struct watch *w)
{
	for (uint32_t i = w->followed_count; i-- > 0;) {
		struct followed *f = &w->followed[i];
		f->at = 0;
		while (f->at < w->args.version_count && w->args.versions[f->at].stream->version != f->version)
			f->at++;
		if (f->at == w->args.version_count)
			unfollow(w, i);
		else
			partial_spec_of(w->args.versions[f->at].stream, topology_distinct_seed(w->first.topology),
			    PARTIAL_QUANTILE_CAP_CLOUD, &f->spec);
	}
}

/* Another topology is in force: versions may have come. Where it has no such stream any more it goes on as before. */
static void take_topology(struct watch *w)
{
	struct query_error error;
	struct query_args args;
	if (w->now.topology == w->first.topology ||
	    query_args_parse_watch(w->now.topology, w->wanted, w->wanted_count, &args, &error))
		return;
	query_args_clear(&w->args);
	gather_unpin(&w->first);
	w->first = w->now;
	topology_hold(w->first.topology);
	w->args = args;
	follow_new(w);
	settle(w);
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* Each shard's place is the end of its outbox. */
static int find_ends(struct watch *w, struct query_error *error)
{
	int64_t until_ns = clock_mono_ns() + WATCH_OPEN_NS;
	for (uint32_t i = 0; i < w->followed_count * w->shards; i++) {
		struct followed *f = &w->followed[i / w->shards];
		struct watch_place *place = &f->places[i % w->shards];
		char reason[QUERY_REASON_MAX];
		int rc = gather_outbox_end(&w->now, i % w->shards, w->stream, f->version, until_ns - clock_mono_ns(),
		    &place->index, &place->n, reason);
		if (rc) {
			*error = (struct query_error){503, "unavailable", ""};
			snprintf(error->message, sizeof(error->message), "%s", reason);
			return rc;
		}
	}
	return 0;
}

/* A version with places in it has begun to answer where the id was made: here, it may not have. */
static bool knows_version(const struct watch *w, uint32_t version)
{
	int at = topology_stream_version_of(w->first.topology, w->stream, version);
	return at >= 0 && w->first.topology->streams[at].phase != STREAM_PENDING;
}

/* The places of an id, of versions that this stream has; those that it does not speak of came later. WEIR_EVERSION: one that this topology does
 * not know, or not yet. */
static int take_id(struct watch *w, const char *id)
{
	struct watch_version versions[WATCH_VERSIONS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < WATCH_VERSIONS_MAX; i++)
		versions[i].places = xcalloc(w->shards, sizeof(*versions[i].places));
	int rc = watch_id_get(id, w->shards, versions, &count);
	for (uint32_t i = 0; i < count && !rc; i++) {
		if (find_followed(w, versions[i].version))
			rc = WEIR_EINVAL;
		else if (!knows_version(w, versions[i].version))
			rc = WEIR_EVERSION;
		else
			memcpy(follow(w, versions[i].version)->places, versions[i].places,
			    w->shards * sizeof(*versions[i].places));
	}
	for (uint32_t i = 0; i < WATCH_VERSIONS_MAX; i++)
		free(versions[i].places);
	return rc;
}

static void copy_wanted(struct watch *w, const struct query_arg *wanted, size_t count)
{
	w->wanted = xcalloc(count, sizeof(*w->wanted));
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(wanted[i].name, "last_event_id"))
			continue;
		w->wanted[w->wanted_count++] = (struct query_arg){xstrdup(wanted[i].name), xstrdup(wanted[i].value)};
	}
}

static void free_wanted(struct watch *w)
{
	for (size_t i = 0; i < w->wanted_count; i++) {
		free((char *)(uintptr_t)w->wanted[i].name);
		free((char *)(uintptr_t)w->wanted[i].value);
	}
	free(w->wanted);
}

int watch_open(struct gather *g, struct http_server *server, struct query_args *args, const struct query_arg *wanted,
    size_t count, const char *last_id, struct watch **ret_watch, struct query_error *ret_error)
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
	w->stream = xstrdup(w->args.stream->name);
	copy_wanted(w, wanted, count);
	w->shards = w->first.topology->shards;
	w->ask_again_ns = xcalloc(CLOUDS_MAX, sizeof(*w->ask_again_ns));
	int rc = 0;
	if (last_id && *last_id) {
		rc = take_id(w, last_id);
		if (rc)
			*ret_error = (struct query_error){400, "bad_cursor", "the last event id is not one of this stream"};
	}
	follow_new(w);
	settle(w);
	if (!rc && !(last_id && *last_id))
		rc = find_ends(w, ret_error);
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
	while (w->followed_count)
		unfollow(w, 0);
	free(w->stream);
	free_wanted(w);
	free(w);
}

/* ---- following -------------------------------------------------------------------------------------------------- */

static void put_id(struct watch *w, struct buf *out)
{
	struct watch_version versions[WATCH_VERSIONS_MAX];
	for (uint32_t i = 0; i < w->followed_count; i++)
		versions[i] = (struct watch_version){w->followed[i].version, w->followed[i].places};
	buf_printf(out, "id: ");
	watch_id_put(versions, w->followed_count, w->shards, out);
	buf_printf(out, "\n");
}

/* Whether the row passes the filters, as its version has them. */
static int is_wanted(struct watch *w, const struct row *row, bool *ret_wanted)
{
	struct bytes group;
	uint8_t room[GROUP_KEY_MAX];
	return row_group_of(&w->args.spec, w->args.stream->by_count, row->group, room, &group, ret_wanted);
}

/* With the place behind it. */
static void put_row(struct watch *w, const struct followed *f, const struct row *row, struct buf *out)
{
	put_id(w, out);
	buf_printf(out, "data: ");
	row_json_put(&w->args, &f->spec, row, out);
	buf_printf(out, "\n\n");
}

/* Writes the rows that are wanted. A bad page is an error, never half a page passed over. */
static int put_rows(struct watch *w, struct followed *f, uint32_t shard, const struct buf *rows, struct buf *out)
{
	struct rows_reader *reader;
	struct row *row;
	query_args_select(&w->args, f->at);
	int rc = rows_reader_open(bytes_of(rows->data, rows->len), &f->spec, &reader);
	if (rc)
		return rc;
	while ((rc = rows_reader_next(reader, &row)) > 0) {
		bool wanted;
		f->places[shard] = (struct watch_place){row->outbox_index, row->outbox_n};
		w->moved = true;
		rc = is_wanted(w, row, &wanted);
		if (rc)
			break;
		if (wanted)
			put_row(w, f, row, out);
	}
	rows_reader_close(reader);
	return rc;
}

/* Asks one shard. Its being away, or without a leader, is no error: it is asked again. */
static int poll_shard(struct watch *w, struct followed *f, uint32_t shard, struct buf *out)
{
	struct watch_place place = f->places[shard];
	struct buf rows = {0};
	bool reset = false;
	char reason[QUERY_REASON_MAX];
	int node;
	int rc = gather_outbox(
	    &w->now, shard, w->stream, f->version, &place.index, &place.n, WATCH_ROWS, &rows, &reset, &node, reason);
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
	rc = put_rows(w, f, shard, &rows, out);
	if (!rc)
		f->places[shard] = place; /* may be further than the last row */
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
		for (uint32_t j = 0; j < w->followed_count && !away; j++) {
			int rc = poll_shard(w, &w->followed[j], w->next, out);
			if (rc)
				return rc;
		}
		w->next = (w->next + 1) % w->shards;
	}
	return 0;
}

int watch_fill(void *watch, struct buf *out)
{
	struct watch *w = watch;
	if (!w->greeted) { /* tells the client where it is, so that it can come back even before the first row */
		put_id(w, out);
		buf_printf(out, "retry: 1000\n: watching %s\n\n", w->stream);
		w->greeted = true;
		w->wrote_ns = clock_mono_ns();
		return 1;
	}
	while (!http_stopping(w->server)) {
		struct gather before = w->now;
		w->now = gather_pin(&before);
		gather_unpin(&before);
		take_topology(w);
		int rc = poll_all(w, out);
		if (rc)
			return rc;
		if (!out->len && clock_mono_ns() - w->wrote_ns >= WATCH_KEEPALIVE_MS * NS_PER_MS)
			put_keepalive(w, out);
		if (out->len) {
			w->wrote_ns = clock_mono_ns();
			return 1;
		}
		if (!w->moved) /* of rows that nobody wants there may be as many more */
			pause_ms(w, WATCH_POLL_MS);
		w->moved = false;
	}
	return 0;
}

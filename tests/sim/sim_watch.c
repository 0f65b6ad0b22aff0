/* A watcher of every stream: what it was told last of each window must be what the window holds in the end. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_answer.h"

#define GROUP_BYTES_MAX 128

/* What was told last of one row of one shard. */
struct sim_told {
	bool used;
	uint32_t shard, stream;
	int64_t start_ns;
	uint8_t group_len;
	uint8_t group[GROUP_BYTES_MAX];
	uint64_t count;
	uint64_t times;
};

static struct sim_told *slot(struct sim_watch *t, uint32_t shard, uint32_t stream, int64_t start_ns, struct bytes group)
{
	uint64_t h = sim_mix(sim_hash_bytes(group.p, group.n) ^ sim_mix((uint64_t)start_ns ^ stream << 16 ^ shard));
	for (size_t i = h & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
		struct sim_told *s = &t->at[i];
		if (!s->used || (s->shard == shard && s->stream == stream && s->start_ns == start_ns &&
		                    s->group_len == group.n && !memcmp(s->group, group.p, group.n)))
			return s;
	}
}

static void grow(struct sim_watch *t)
{
	if (2 * t->count < t->cap)
		return;
	struct sim_told *old = t->at;
	size_t n = t->cap;
	t->cap = n ? 2 * n : 1024;
	t->at = xcalloc(t->cap, sizeof(*t->at));
	for (size_t i = 0; i < n; i++)
		if (old[i].used)
			*slot(t, old[i].shard, old[i].stream, old[i].start_ns, bytes_of(old[i].group, old[i].group_len)) = old[i];
	free(old);
}

static void told(struct sim_world *w, uint32_t shard, uint32_t stream, const struct sim_row *r)
{
	struct sim_watch *t = &w->watch;
	grow(t);
	struct sim_told *s = slot(t, shard, stream, r->start_ns, r->group);
	t->count += !s->used;
	weir_assert(r->group.n <= GROUP_BYTES_MAX);
	*s = (struct sim_told){true, shard, stream, r->start_ns, (uint8_t)r->group.n, {0}, r->partial.count, s->times + 1};
	if (r->group.n)
		memcpy(s->group, r->group.p, r->group.n);
	if (r->state == WINDOW_OPEN)
		sim_fail(w, "stream %s: a watcher is told of the open window at %lld s", w->known->streams[stream].name,
		    sim_seconds(r->start_ns));
}

static void follow(struct sim_world *w, struct sim_cloud *c, uint32_t shard, uint32_t stream)
{
	struct sim_cursor_at *at = &w->watch.cursors[shard][stream];
	struct sim_rows rows;
	size_t n;
	do {
		struct sim_cursor_at before = *at;
		if (!sim_answer_outbox(w, c, shard, stream, &at->index, &at->n, &rows))
			return;
		n = rows.count;
		for (size_t i = 0; i < n; i++)
			told(w, shard, stream, &rows.rows[i]);
		sim_rows_free(&rows);
		if (at->index != before.index || at->n != before.n)
			n = 1; /* it moved on, maybe over rows that are no more */
	} while (n && !w->failed);
}

void sim_watch_follow(struct sim_world *w, struct sim_cloud *c, uint32_t shard)
{
	for (uint32_t s = 0; s < w->known->stream_count && !w->failed; s++)
		follow(w, c, shard, s);
}

/* Closed, final, and once for each revision: no more than that. */
static void check_row(struct sim_world *w, uint32_t shard, uint32_t stream, const struct sim_row *r)
{
	const struct stream_conf *s = &w->known->streams[stream];
	const struct sim_told *t = slot(&w->watch, shard, stream, r->start_ns, r->group);
	if (r->state != WINDOW_OPEN && (!t->used || t->count != r->partial.count))
		sim_fail(w, "stream %s, version %u: a watcher was told of %llu readings in the window at %lld s of a group, and it holds %llu",
		    s->name, s->version, t->used ? (unsigned long long)t->count : 0, sim_seconds(r->start_ns),
		    (unsigned long long)r->partial.count);
	else if (t->used && t->times > r->revision + 1)
		sim_fail(w, "stream %s, version %u: a watcher was told %llu times of the window at %lld s of a group, whose revision is %llu", s->name,
		    s->version, (unsigned long long)t->times, sim_seconds(r->start_ns), (unsigned long long)r->revision);
}

/* A window is one version's: that which answers it in the end. */
static void check_told(struct sim_world *w)
{
	for (size_t i = 0; i < w->watch.cap && !w->failed; i++) {
		const struct sim_told *t = &w->watch.at[i];
		const struct stream_conf *s = &w->known->streams[t->stream];
		if (t->used && !w->watch.other_windows[t->stream] && (t->start_ns < s->from_ns || t->start_ns >= s->answers_until_ns))
			sim_fail(w, "stream %s, version %u: a watcher was told of the window at %lld s, which another version answers", s->name,
			    s->version, sim_seconds(t->start_ns));
	}
}

static void check_rows(struct sim_world *w, uint32_t shard, uint32_t stream)
{
	struct sim_rows rows;
	grow(&w->watch);
	sim_answer_begin(w, stream, &rows);
	if (!sim_answer_add(w, sim_answer_replica(w, shard), shard, stream, &rows)) {
		sim_rows_free(&rows);
		return;
	}
	bool all = sim_versions_least_retain(w, stream) == RETAIN_FOREVER && !w->watch.other_windows[stream];
	for (size_t i = 0; i < rows.count && all && !w->failed; i++)
		check_row(w, shard, stream, &rows.rows[i]);
	sim_rows_free(&rows);
}

void sim_watch_check(struct sim_world *w)
{
	for (uint32_t shard = 0; shard < w->topology->shards && !w->failed; shard++)
		sim_watch_follow(w, sim_answer_replica(w, shard), shard);
	for (uint32_t shard = 0; shard < w->topology->shards; shard++)
		for (uint32_t s = 0; s < w->known->stream_count && !w->failed; s++)
			check_rows(w, shard, s);
	check_told(w);
}

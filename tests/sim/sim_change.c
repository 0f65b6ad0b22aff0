#include "tests/sim/sim_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/map.h"

#define CHANGED 0.3 /* of all seeds */
#define BLOCKS_MAX 8
#define KEYS_MAX 20
#define PAST_MAX 32

/* ---- the file, as a person edits it: blocks of keys ------------------------------------------------------------ */

/* One item of a list: its lines, by key. */
struct block {
	char name[SIM_NAME_MAX];
	char *keys[KEYS_MAX]; /* each with its line and those that go on with it */
	size_t count;
};

/* What sim_text.rest holds. */
struct doc {
	struct block edges[BLOCKS_MAX], streams[BLOCKS_MAX];
	size_t edge_count, stream_count;
};

static void block_clear(struct block *b)
{
	for (size_t i = 0; i < b->count; i++)
		free(b->keys[i]);
	*b = (struct block){0};
}

static struct block block_copy(const struct block *b)
{
	struct block c = *b;
	for (size_t i = 0; i < c.count; i++)
		c.keys[i] = xstrdup(b->keys[i]);
	return c;
}

static void doc_clear(struct doc *d)
{
	for (size_t i = 0; i < d->edge_count; i++)
		block_clear(&d->edges[i]);
	for (size_t i = 0; i < d->stream_count; i++)
		block_clear(&d->streams[i]);
	*d = (struct doc){0};
}

/* Reads "  - name: N", "    key: ..." and deeper lines, up to a line that is none of these. */
static const char *read_blocks(const char *text, struct block *blocks, size_t *count)
{
	for (; text[0] == ' '; ) {
		size_t n = strcspn(text, "\n") + 1;
		bool begins = !strncmp(text, "  - name: ", 10);
		if (begins) {
			struct block *b = &blocks[(*count)++];
			weir_assert(*count <= BLOCKS_MAX && n - 11 < sizeof(b->name));
			memcpy(b->name, text + 10, n - 11);
		} else {
			struct block *b = &blocks[*count - 1];
			bool goes_on = text[4] == ' ';
			size_t had = goes_on ? strlen(b->keys[b->count - 1]) : 0;
			b->count += !goes_on;
			weir_assert(*count && b->count <= KEYS_MAX);
			char **key = &b->keys[b->count - 1];
			*key = xrealloc(goes_on ? *key : NULL, had + n + 1);
			memcpy(*key + had, text, n);
			(*key)[had + n] = 0;
		}
		text += n;
	}
	return text;
}

static void doc_read(const char *text, struct doc *ret)
{
	*ret = (struct doc){0};
	weir_assert(!strncmp(text, "edges:\n", 7));
	const char *streams = read_blocks(text + 7, ret->edges, &ret->edge_count);
	weir_assert(!strncmp(streams, "streams:\n", 9));
	const char *end = read_blocks(streams + 9, ret->streams, &ret->stream_count);
	weir_assert(!*end);
}

static void put_blocks(const struct block *b, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "  - name: %s\n", b[i].name);
		for (size_t k = 0; k < b[i].count; k++)
			buf_printf(out, "%s", b[i].keys[k]);
	}
}

static void doc_put(const struct doc *d, struct buf *out)
{
	buf_printf(out, "edges:\n");
	put_blocks(d->edges, d->edge_count, out);
	buf_printf(out, "streams:\n");
	put_blocks(d->streams, d->stream_count, out);
}

static bool is_key(const char *line, const char *key)
{
	size_t n = strlen(key);
	return !strncmp(line + 4, key, n) && line[4 + n] == ':';
}

static char **find_key(struct block *b, const char *key)
{
	for (size_t i = 0; i < b->count; i++)
		if (is_key(b->keys[i], key))
			return &b->keys[i];
	return NULL;
}

/* lines: the key's new ones; "": it goes. */
static void set_key(struct block *b, const char *key, const char *lines)
{
	char **at = find_key(b, key);
	if (at && *lines) {
		free(*at);
		*at = xstrdup(lines);
	} else if (at) {
		free(*at);
		b->count--;
		memmove(at, at + 1, (size_t)(&b->keys[b->count] - at) * sizeof(*at));
	} else if (*lines) {
		weir_assert(b->count < KEYS_MAX);
		b->keys[b->count++] = xstrdup(lines);
	}
}

static void remove_block(struct block *blocks, size_t *count, size_t at)
{
	block_clear(&blocks[at]);
	--*count;
	memmove(&blocks[at], &blocks[at + 1], (*count - at) * sizeof(*blocks));
	blocks[*count] = (struct block){0};
}

static struct block *find_block(struct block *blocks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(blocks[i].name, name))
			return &blocks[i];
	return NULL;
}

/* ---- what is edited ---------------------------------------------------------------------------------------------- */

struct editor {
	struct sim_plan *plan;
	struct sim_rand *rand;
	struct sim_text text; /* the rest is the doc's */
	struct doc doc;
	struct block past[PAST_MAX]; /* definitions of streams that were in force */
	size_t past_count;
	unsigned streams, edges;     /* that there ever were */
	bool edge_gone;
	bool has_sinks;              /* the first text */
	unsigned alert_turn;
};

static void remember(struct editor *e, const struct block *b)
{
	if (e->past_count < PAST_MAX)
		e->past[e->past_count++] = block_copy(b);
}

/* One key anew, as any stream of a plan might have it. */
static void edit_key(struct editor *e, struct block *b, const char *key)
{
	struct buf all = {0};
	struct block fresh[1] = {0};
	size_t count = 0;
	bool counter = find_key(b, "from") && strstr(*find_key(b, "from"), "ctr");
	sim_plan_put_stream(e->plan, e->rand, 1, counter, 1, &all);
	buf_u8(&all, 0);
	read_blocks((const char *)all.data, fresh, &count);
	char **line = find_key(&fresh[0], key);
	set_key(b, key, line ? *line : "");
	if (!strcmp(key, "retain")) { /* they go together */
		line = find_key(&fresh[0], "rollup");
		set_key(b, "rollup", line ? *line : "");
	}
	block_clear(&fresh[0]);
	buf_free(&all);
}

static void edit_stream(struct editor *e)
{
	/* Some of these make a new version, some do not, some as it comes: a window on the same slices, functions on the same parts. */
	static const char *const keys[] = {"steps", "steps", "by", "by", "window", "window", "window", "compute", "compute", "lateness",
	    "retain", "max_groups", "from"};
	struct block *b = &e->doc.streams[sim_below(e->rand, e->doc.stream_count)];
	remember(e, b);
	for (int i = sim_chance(e->rand, 0.3) ? 2 : 1; i > 0; i--)
		edit_key(e, b, keys[sim_below(e->rand, sizeof(keys) / sizeof(keys[0]))]);
}

/* A stream as it was, whether it is there now or not. */
static bool bring_back(struct editor *e)
{
	if (!e->past_count)
		return false;
	const struct block *was = &e->past[sim_chance(e->rand, 0.6) ? e->past_count - 1 : sim_below(e->rand, e->past_count)];
	struct block *now = find_block(e->doc.streams, e->doc.stream_count, was->name), copy = block_copy(was);
	if (now) {
		remember(e, now);
		block_clear(now);
		*now = copy;
	} else if (e->doc.stream_count < SIM_STREAMS_MAX) {
		e->doc.streams[e->doc.stream_count++] = copy;
	} else {
		block_clear(&copy);
		return false;
	}
	return true;
}

static bool add_stream(struct editor *e)
{
	struct buf all = {0};
	if (e->doc.stream_count == SIM_STREAMS_MAX)
		return false;
	sim_plan_put_stream(e->plan, e->rand, ++e->streams, sim_chance(e->rand, 0.25), 1, &all);
	buf_u8(&all, 0);
	read_blocks((const char *)all.data, e->doc.streams, &e->doc.stream_count);
	buf_free(&all);
	return true;
}

static bool remove_stream(struct editor *e)
{
	if (e->doc.stream_count < 2)
		return false;
	size_t at = sim_below(e->rand, e->doc.stream_count);
	remember(e, &e->doc.streams[at]);
	remove_block(e->doc.streams, &e->doc.stream_count, at);
	return true;
}

/* ---- edges ------------------------------------------------------------------------------------------------------- */

static bool add_edge(struct editor *e, int64_t at_ns)
{
	struct sim_plan *p = e->plan;
	struct buf all = {0};
	if (e->edges == SIM_EDGES_MAX)
		return false;
	uint32_t edge = e->edges++;
	p->source_count[edge] = 1 + sim_below(e->rand, 2);
	for (size_t s = 0; s < p->source_count[edge]; s++)
		p->source_begins_ns[edge][s] = at_ns;
	p->late_sources = true;
	sim_plan_put_edge(p, e->rand, edge + 1, p->source_count[edge], &all);
	buf_u8(&all, 0);
	read_blocks((const char *)all.data, e->doc.edges, &e->doc.edge_count);
	buf_free(&all);
	return true;
}

/* A stream that lists nobody but who is gone would be no stream: nobody is listed then. */
static void unlist(struct editor *e, const char *edge)
{
	for (size_t i = 0; i < e->doc.stream_count; i++) {
		char **line = find_key(&e->doc.streams[i], "edges");
		if (line && strstr(*line, edge))
			set_key(&e->doc.streams[i], "edges", "");
	}
	for (size_t i = 0; i < e->past_count; i++)
		set_key(&e->past[i], "edges", "");
}

/* One at the most in a run, and for good: what it has not delivered is lost with it. */
static bool remove_edge(struct editor *e)
{
	if (e->doc.edge_count < 2 || e->edge_gone)
		return false;
	size_t at = sim_below(e->rand, e->doc.edge_count);
	unlist(e, e->doc.edges[at].name);
	remove_block(e->doc.edges, &e->doc.edge_count, at);
	e->edge_gone = true;
	return true;
}

/* Which of its sources an edge has. */
static size_t sources_of(struct block *b, bool has[SIM_SOURCES_MAX])
{
	size_t count = 0;
	for (size_t s = 0; s < SIM_SOURCES_MAX; s++) {
		char name[16];
		snprintf(name, sizeof(name), "name: s%zu,", s + 1);
		has[s] = strstr(*find_key(b, "sources"), name) != NULL;
		count += has[s];
	}
	return count;
}

/* One goes, or comes; maybe one that was there before: it goes on where it was. */
static bool edit_sources(struct editor *e, int64_t at_ns)
{
	struct block *b = &e->doc.edges[sim_below(e->rand, e->doc.edge_count)];
	unsigned edge = (unsigned)(b->name[5] - '0');
	bool has[SIM_SOURCES_MAX];
	size_t *known = &e->plan->source_count[edge - 1], s = sim_below(e->rand, SIM_SOURCES_MAX);
	if (sources_of(b, has) == has[s])
		return false; /* the only one */
	if (!has[s] && s >= *known) {
		s = (*known)++;
		e->plan->source_begins_ns[edge - 1][s] = at_ns;
	}
	e->plan->late_sources = e->plan->late_sources || !has[s];
	has[s] = !has[s];
	struct buf lines = {0};
	buf_printf(&lines, "    sources:\n");
	for (size_t i = 0; i < *known; i++)
		if (has[i])
			sim_plan_put_source(edge, i, &lines);
	set_key(b, "sources", buf_cstr(&lines));
	buf_free(&lines);
	return true;
}

static bool edit_edge(struct editor *e)
{
	struct block *b = &e->doc.edges[sim_below(e->rand, e->doc.edge_count)];
	char line[100];
	switch (sim_below(e->rand, 4)) {
	case 0:
		snprintf(line, sizeof(line), "    tags: {gw: g%" PRIu64 ", zone: z%" PRIu64 "}\n", sim_below(e->rand, 6), sim_below(e->rand, 2));
		set_key(b, "tags", line);
		break;
	case 1:
		snprintf(line, sizeof(line), "    heartbeat: %" PRId64 "ms\n", sim_range(e->rand, 5, 20) * 100);
		set_key(b, "heartbeat", line);
		break;
	case 2:
		snprintf(line, sizeof(line), "    flush: %" PRId64 "ms\n", sim_range(e->rand, 5, 60) * 100);
		set_key(b, "flush", line);
		break;
	default:
		snprintf(line, sizeof(line), "    idle_after: %" PRId64 "s\n", sim_range(e->rand, 4, 8));
		set_key(b, "idle_after", line);
		break;
	}
	return true;
}

/* ---- a change ---------------------------------------------------------------------------------------------------- */

static bool edit_once(struct editor *e, int64_t at_ns)
{
	double u = sim_unit(e->rand);
	if (u < 0.45) {
		edit_stream(e);
		return true;
	}
	return u < 0.6 ? bring_back(e)
	    : u < 0.68 ? add_stream(e)
	    : u < 0.76 ? remove_stream(e)
	    : u < 0.83 ? add_edge(e, at_ns)
	    : u < 0.87 ? remove_edge(e)
	    : u < 0.95 ? edit_sources(e, at_ns)
		       : edit_edge(e);
}

/* What no cluster takes. */
static void spoil(const struct editor *e, const char *text, struct buf *out)
{
	static const struct {
		const char *was, *next;
	} all[] = {{"\n  shards: ", "\n  shards: 1"}, {"\n  name: sim\n", "\n  name: other\n"}, {"    window: ", "    window: 0s #"},
	    {"    lateness: ", "    lateness: -"}, {"tcp://127.0.0.1:7101", "tcp://127.0.0.1:7999"}, {"    by: [", "    by: [sensor, sensor, "},
	    {"\nstreams:\n", "\nstreams:\n  - name: stream1\n"}, {"    compute: [", "    compute: [everything, "}};
	size_t n = sim_below(e->rand, sizeof(all) / sizeof(all[0]));
	const char *at = strstr(text, all[n].was);
	weir_assert(at);
	buf_put(out, text, (size_t)(at - text));
	buf_printf(out, "%s%s", all[n].next, at + strlen(all[n].was));
}

static void put_text(const struct editor *e, struct buf *out)
{
	struct sim_text t = e->text;
	t.rest = (struct buf){0};
	doc_put(&e->doc, &t.rest);
	sim_text_put(&t, out);
	buf_free(&t.rest);
}

/* By its name, so that each stream has the same alerts in each text of a turn, but for sinks that are gone. */
static void put_alerts(struct editor *e)
{
	for (size_t i = 0; e->plan->alerts && i < e->doc.stream_count; i++) {
		struct block *b = &e->doc.streams[i];
		struct buf lines = {0};
		sim_plan_put_alerts(e->plan, b->name, *find_key(b, "compute"), e->alert_turn, e->text.sinks, &lines);
		set_key(b, "alert", buf_cstr(&lines));
		buf_free(&lines);
	}
}

/* One of them, or both, go and come back: of its own chance, so that seeds without sinks stay as they were. */
static void edit_sinks(struct editor *e, int64_t at_ns)
{
	struct sim_rand own = {sim_mix(e->plan->seed ^ (uint64_t)at_ns)};
	if (e->has_sinks)
		e->text.sinks = sim_chance(&own, 0.5) ? SIM_SINKS : (unsigned)sim_below(&own, SIM_SINKS);
	e->alert_turn += sim_chance(&own, 0.4);
}

static void add_change(struct editor *e, int64_t at_ns)
{
	struct sim_change *c = &e->plan->changes[e->plan->change_count++];
	*c = (struct sim_change){.at_ns = at_ns, .deed = SIM_APPLY_TEXT, .refused = sim_chance(e->rand, 0.12)};
	if (c->refused) {
		struct buf text = {0};
		put_text(e, &text);
		spoil(e, buf_cstr(&text), &c->yaml);
		buf_free(&text);
		return;
	}
	for (int i = (int)sim_range(e->rand, 1, 2), tries = 0; i > 0 && tries < 20; tries++)
		i -= edit_once(e, at_ns);
	edit_sinks(e, at_ns);
	put_alerts(e);
	put_text(e, &c->yaml);
}

void sim_change_plan(struct sim_plan *p, const struct sim_text *t)
{
	struct sim_rand r = {sim_mix(p->seed ^ UINT64_C(0x7e0b0))};
	/* Copies of edges and their readmission have an own history, which nobody keeps with each topology. */
	if (p->failover || p->scenario != SIM_PLAIN || !sim_chance(&r, CHANGED))
		return;
	struct editor e = {.plan = p, .rand = &r, .text = *t, .has_sinks = t->sinks != 0};
	struct buf rest = {0};
	buf_put(&rest, t->rest.data, t->rest.len);
	buf_u8(&rest, 0);
	doc_read((const char *)rest.data, &e.doc);
	buf_free(&rest);
	e.streams = (unsigned)e.doc.stream_count;
	e.edges = (unsigned)e.doc.edge_count;
	p->change_name = "streams, edges and sources";
	int64_t at_ns = sim_range(&r, 4, 25) * NS_PER_SEC;
	for (int64_t n = sim_range(&r, 1, 4); n > 0; n--) {
		add_change(&e, at_ns);
		at_ns += sim_range(&r, sim_chance(&r, 0.3) ? 200 : 4000, 14000) * NS_PER_MS;
	}
	doc_clear(&e.doc);
	for (size_t i = 0; i < e.past_count; i++)
		block_clear(&e.past[i]);
}

/* ---- what the product says of it ----------------------------------------------------------------------------------- */

static bool is_taken(struct cluster_map *m, const struct buf *yaml, struct buf *errors)
{
	struct cluster_map next;
	struct map_changes told;
	int rc = map_change(m, (const char *)yaml->data, yaml->len, &next, &told, errors);
	for (size_t i = 0; i < told.count && rc; i++)
		if (told.all[i].kind == MAP_REFUSED)
			buf_printf(errors, "%s %s: %s\n", told.all[i].what, told.all[i].name, told.all[i].text);
	map_changes_clear(&told);
	if (rc)
		return false;
	map_clear(m);
	*m = next;
	return true;
}

int sim_change_check(const struct sim_plan *p, char **ret_why)
{
	struct cluster_map m;
	bool fine = true;
	map_first(p->topology, (const char *)p->yaml.data, p->yaml.len, &m);
	for (uint32_t i = 0; i < p->change_count && fine; i++) {
		const struct sim_change *c = &p->changes[i];
		struct buf errors = {0};
		fine = c->deed != SIM_APPLY_TEXT || is_taken(&m, &c->yaml, &errors) == !c->refused;
		if (!fine) {
			char *text = xstrndup((const char *)c->yaml.data, c->yaml.len);
			*ret_why = xasprintf("%s%s: %s", text, c->refused ? "should have been refused" : "refused", buf_cstr(&errors));
			free(text);
		}
		buf_free(&errors);
	}
	map_clear(&m);
	return fine ? 0 : WEIR_EINVAL;
}

/* A new topology text for a cluster that runs: what may change, what it changes, and how it is told. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "common/topology_parts.h"

#define PART_SHOWN_MAX 120 /* bytes of one value in a difference; a longer one is only said to have changed */

struct change {
	struct cluster_map out;
	struct topology *was, *next;
	struct map_changes *told;
};

void map_changes_clear(struct map_changes *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->all[i].what);
		free(c->all[i].name);
		free(c->all[i].text);
	}
	free(c->all);
	*c = (struct map_changes){0};
}

__attribute__((format(printf, 5, 6))) static void tell(struct change *c, enum map_change_kind kind, const char *what,
    const char *name, const char *fmt, ...)
{
	struct map_changes *t = c->told;
	char *text;
	va_list args;
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = xstrdup("");
	va_end(args);
	t->all = xrealloc(t->all, (t->count + 1) * sizeof(*t->all));
	t->all[t->count++] = (struct map_change){kind, xstrdup(what), xstrdup(name), text};
	t->refused |= kind == MAP_REFUSED;
}

/* Appends "; key: was -> next" where they differ. */
static void differ(struct buf *out, const char *key, const char *was, const char *next)
{
	if (!strcmp(was, next))
		return;
	buf_printf(out, "%s", out->len ? "; " : "");
	if (strlen(was) > PART_SHOWN_MAX || strlen(next) > PART_SHOWN_MAX)
		buf_printf(out, "%s changed", key);
	else
		buf_printf(out, "%s: %s -> %s", key, *was ? was : "none", *next ? next : "none");
}

static void differ_ns(struct buf *out, const char *key, int64_t was_ns, int64_t next_ns)
{
	char was[TIME_TEXT_MAX], next[TIME_TEXT_MAX];
	duration_format(was_ns, was);
	duration_format(next_ns, next);
	differ(out, key, was, next);
}

static void differ_number(struct buf *out, const char *key, uint64_t was, uint64_t next)
{
	char a[24], b[24];
	snprintf(a, sizeof(a), "%llu", (unsigned long long)was);
	snprintf(b, sizeof(b), "%llu", (unsigned long long)next);
	differ(out, key, a, b);
}

/* ---- the cluster ------------------------------------------------------------------------------------------- */

static void change_cluster(struct change *c)
{
	const struct topology *was = c->was, *next = c->next;
	struct buf text = {0};
	if (strcmp(was->cluster, next->cluster))
		tell(c, MAP_REFUSED, "cluster", was->cluster, "name: %s -> %s: a cluster keeps its name", was->cluster,
		    next->cluster);
	if (was->shards != next->shards)
		tell(c, MAP_REFUSED, "cluster", was->cluster,
		    "shards: %u -> %u: their number is fixed when a cluster is created", was->shards, next->shards);
	if (!was->keys_dir != !next->keys_dir)
		tell(c, MAP_REFUSED, "cluster", was->cluster, "security: %s -> %s: cannot be changed while the cluster runs",
		    was->keys_dir ? "keys" : "none", next->keys_dir ? "keys" : "none");
	differ_number(&text, "replicas", was->replicas, next->replicas);
	differ_ns(&text, "partitioned_after", was->partitioned_after_ns, next->partitioned_after_ns);
	differ_ns(&text, "replace_after", was->replace_after_ns, next->replace_after_ns);
	if (text.len)
		tell(c, MAP_CHANGED, "cluster", was->cluster, "%s", buf_cstr(&text));
	buf_free(&text);
}

/* ---- nodes ------------------------------------------------------------------------------------------------- */

static struct map_node *node_of(struct cluster_map *m, const char *name)
{
	for (size_t i = 0; i < m->node_count; i++) {
		if (m->nodes[i].state != CLOUD_GONE && !strcmp(m->nodes[i].name, name))
			return &m->nodes[i];
	}
	return NULL;
}

static struct map_node *free_slot(struct cluster_map *m)
{
	for (size_t i = 0; i < m->node_count; i++) {
		if (m->nodes[i].state == CLOUD_GONE)
			return &m->nodes[i];
	}
	if (m->node_count == CLOUDS_MAX)
		return NULL;
	m->nodes = xrealloc(m->nodes, (m->node_count + 1) * sizeof(*m->nodes));
	m->nodes[m->node_count] = (struct map_node){CLOUD_GONE, NULL, NULL, NULL};
	return &m->nodes[m->node_count++];
}

/* A node that is on its way out still listens. */
static const struct map_node *address_holder(const struct change *c, const struct cloud_conf *n)
{
	for (size_t i = 0; i < c->out.node_count; i++) {
		const struct map_node *m = &c->out.nodes[i];
		if (m->state != CLOUD_GONE && topology_cloud(c->next, m->name) < 0 &&
		    (!strcmp(m->listen, n->listen) || !strcmp(m->http, n->http)))
			return m;
	}
	return NULL;
}

static void add_node(struct change *c, const struct cloud_conf *n)
{
	const struct map_node *holder = address_holder(c, n);
	if (holder) {
		tell(c, MAP_REFUSED, "node", n->name, "its address is that of %s, which is not gone yet", holder->name);
		return;
	}
	struct map_node *slot = free_slot(&c->out);
	if (!slot) {
		tell(c, MAP_REFUSED, "node", n->name, "the cluster has %d nodes already, those that are leaving included",
		    CLOUDS_MAX);
		return;
	}
	free(slot->name);
	free(slot->listen);
	free(slot->http);
	*slot = (struct map_node){CLOUD_MEMBER, xstrdup(n->name), xstrdup(n->listen), xstrdup(n->http)};
	tell(c, MAP_ADDED, "node", n->name, "%s", n->listen);
}

static void keep_node(struct change *c, struct map_node *m, const struct cloud_conf *n)
{
	struct buf text = {0};
	differ(&text, "listen", m->listen, n->listen);
	differ(&text, "http", m->http, n->http);
	if (text.len)
		tell(c, MAP_REFUSED, "node", n->name,
		    "%s: a node keeps its addresses; remove it and add it under another name", buf_cstr(&text));
	else if (m->state == CLOUD_LEAVING)
		tell(c, MAP_ADDED, "node", n->name, "was leaving; stays");
	if (m->state == CLOUD_LEAVING)
		m->state = CLOUD_MEMBER;
	buf_free(&text);
}

static void change_nodes(struct change *c)
{
	for (size_t i = 0; i < c->out.node_count; i++) {
		struct map_node *n = &c->out.nodes[i];
		bool there = n->state == CLOUD_MEMBER || n->state == CLOUD_DEAD;
		if (!there || topology_cloud(c->next, n->name) >= 0)
			continue;
		n->state = CLOUD_LEAVING;
		tell(c, MAP_REMOVED, "node", n->name, "its replicas move to other nodes first");
	}
	for (size_t i = 0; i < c->next->cloud_count; i++) {
		const struct cloud_conf *n = &c->next->clouds[i];
		struct map_node *m = node_of(&c->out, n->name);
		if (m)
			keep_node(c, m, n);
		else
			add_node(c, n);
	}
}

/* ---- edges ------------------------------------------------------------------------------------------------- */

static bool same_sources(const struct edge_conf *a, const struct edge_conf *b)
{
	bool same = a->source_count == b->source_count;
	for (size_t i = 0; same && i < a->source_count; i++)
		same = source_conf_same(&a->sources[i], &b->sources[i]);
	return same;
}

static bool same_tags(const struct edge_conf *a, const struct edge_conf *b)
{
	bool same = a->tag_count == b->tag_count;
	for (size_t i = 0; same && i < a->tag_count; i++)
		same = !strcmp(a->tags[i].key, b->tags[i].key) && !strcmp(a->tags[i].value, b->tags[i].value);
	return same;
}

static void differ_edge(struct buf *out, const struct edge_conf *was, const struct edge_conf *next)
{
	differ(out, "data", was->data, next->data);
	differ(out, "http", was->http ? was->http : "", next->http ? next->http : "");
	if (!same_tags(was, next))
		buf_printf(out, "%stags changed", out->len ? "; " : "");
	if (!same_sources(was, next))
		buf_printf(out, "%ssources changed", out->len ? "; " : "");
	differ_ns(out, "heartbeat", was->heartbeat_ns, next->heartbeat_ns);
	differ_ns(out, "idle_after", was->idle_after_ns, next->idle_after_ns);
	differ_ns(out, "flush", was->flush_ns, next->flush_ns);
	differ_ns(out, "max_ahead", was->max_ahead_ns, next->max_ahead_ns);
	differ_ns(out, "tick", was->tick_ns, next->tick_ns);
	differ_number(out, "limits.memory", was->memory_bytes, next->memory_bytes);
	differ_number(out, "limits.disk", was->disk_bytes, next->disk_bytes);
}

static void change_edges(struct change *c)
{
	for (size_t i = 0; i < c->was->edge_count; i++) {
		const struct edge_conf *e = &c->was->edges[i];
		if (topology_edge(c->next, e->name) < 0)
			tell(c, MAP_REMOVED, "edge", e->name, "what it has not delivered is refused from now on");
	}
	for (size_t i = 0; i < c->next->edge_count; i++) {
		const struct edge_conf *e = &c->next->edges[i];
		int was = topology_edge(c->was, e->name);
		struct buf text = {0};
		if (node_of(&c->out, e->name) && topology_cloud(c->next, e->name) < 0)
			tell(c, MAP_REFUSED, "edge", e->name, "a node that is leaving has this name");
		else if (was < 0)
			tell(c, MAP_ADDED, "edge", e->name, "%s",
			    map_is_revoked(&c->out, e->name) ? "is revoked still; weirctl edge allow lets it in" : "");
		else
			differ_edge(&text, &c->was->edges[was], e);
		if (text.len)
			tell(c, MAP_CHANGED, "edge", e->name, "%s", buf_cstr(&text));
		buf_free(&text);
	}
}

/* ---- streams ----------------------------------------------------------------------------------------------- */

/* The version of a name in this phase, or NULL. */
static struct map_stream *in_phase(struct cluster_map *m, const char *name, enum stream_phase phase)
{
	for (size_t i = 0; i < m->stream_count; i++) {
		if (m->streams[i].phase == phase && !strcmp(m->streams[i].name, name))
			return &m->streams[i];
	}
	return NULL;
}

static const struct stream_conf *conf_of(const struct topology *t, const char *name)
{
	int i = topology_stream(t, name);
	return i < 0 ? NULL : &t->streams[i];
}

/* What the text defined so far gets a definition of its own. */
static void keep_definition(struct change *c, struct map_stream *s)
{
	const struct stream_conf *conf = conf_of(c->was, s->name);
	if (*s->definition || !conf)
		return;
	struct buf text = {0};
	topology_stream_text(c->was, conf, &text);
	if (text.len > MAP_DEFINITION_MAX) {
		tell(c, MAP_REFUSED, "stream", s->name, "its present definition is longer than %d bytes: it cannot be kept "
							"beside a new one", MAP_DEFINITION_MAX);
	} else {
		free(s->definition);
		s->definition = xstrdup(buf_cstr(&text));
	}
	buf_free(&text);
}

/* A version that never answered, and never will. */
static void give_up(struct change *c, struct map_stream *s)
{
	keep_definition(c, s);
	s->phase = STREAM_RETIRED;
	s->from_ns = s->answers_until_ns = s->until_ns = INT64_MIN;
}

static uint32_t unused_version(const struct cluster_map *m, const char *name, uint32_t fingerprint)
{
	uint32_t version = fingerprint;
	for (size_t i = 0; i < m->stream_count; i++) {
		if (strcmp(m->streams[i].name, name) || m->streams[i].version != version)
			continue;
		version = version == UINT32_MAX ? 1 : version + 1;
		i = SIZE_MAX; /* from the beginning */
	}
	return version;
}

static void drop_stream(struct cluster_map *m, size_t at)
{
	free(m->streams[at].name);
	free(m->streams[at].definition);
	m->stream_count--;
	memmove(&m->streams[at], &m->streams[at + 1], (m->stream_count - at) * sizeof(*m->streams));
}

/* Room for one more version of a name: at its limit the oldest RETIRED one goes. */
static bool make_room(struct change *c, const char *name)
{
	struct cluster_map *m = &c->out;
	size_t count = 0, oldest = SIZE_MAX;
	for (size_t i = 0; i < m->stream_count; i++) {
		if (strcmp(m->streams[i].name, name))
			continue;
		count++;
		if (oldest == SIZE_MAX && m->streams[i].phase == STREAM_RETIRED)
			oldest = i;
	}
	if (count >= MAP_VERSIONS_MAX && oldest != SIZE_MAX) {
		tell(c, MAP_REMOVED, "stream", name, "its oldest retired version goes, with all that it has: %d versions are kept",
		    MAP_VERSIONS_MAX);
		drop_stream(m, oldest);
		count--;
	}
	if (count >= MAP_VERSIONS_MAX)
		tell(c, MAP_REFUSED, "stream", name, "%d versions of it are still fed or closing: apply this once one has ended", MAP_VERSIONS_MAX);
	else if (m->stream_count >= MAP_STREAMS_MAX)
		tell(c, MAP_REFUSED, "stream", name, "the cluster has %d versions of streams, and no room for more: those of removed streams count, too",
		    MAP_STREAMS_MAX);
	else
		return true;
	return false;
}

/* Behind the other versions of its name. */
static void add_version(struct change *c, const struct stream_conf *s, enum stream_phase phase)
{
	struct cluster_map *m = &c->out;
	if (!make_room(c, s->name))
		return;
	size_t at = m->stream_count;
	for (size_t i = 0; i < m->stream_count; i++)
		at = strcmp(m->streams[i].name, s->name) ? at : i + 1;
	uint32_t version = unused_version(m, s->name, s->version);
	m->streams = xrealloc(m->streams, (m->stream_count + 1) * sizeof(*m->streams));
	memmove(&m->streams[at + 1], &m->streams[at], (m->stream_count - at) * sizeof(*m->streams));
	m->stream_count++;
	m->streams[at] = (struct map_stream){.name = xstrdup(s->name), .version = version, .fingerprint = s->version,
	    .phase = phase, .from_ns = phase == STREAM_PENDING ? INT64_MAX : INT64_MIN,
	    .answers_until_ns = INT64_MAX, .until_ns = INT64_MAX, .definition = xstrdup("")};
}

static void differ_stream(const struct change *c, const struct stream_conf *was, const struct stream_conf *next,
    struct buf *out)
{
	for (int part = 0; part < STREAM_PARTS; part++) {
		struct buf a = {0}, b = {0};
		topology_stream_part(c->was, was, (enum stream_part)part, &a);
		topology_stream_part(c->next, next, (enum stream_part)part, &b);
		differ(out, topology_stream_keys[part], buf_cstr(&a), buf_cstr(&b));
		buf_free(&a);
		buf_free(&b);
	}
}

/* Whether what one definition has stored can be gone on with by the other: partials hold the same, and coarser levels are made of
 * the same periods, maybe with more levels behind. */
static bool goes_on(const struct stream_conf *was, const struct stream_conf *next)
{
	if (topology_stream_version(was) != topology_stream_version(next) || was->rollup_count > next->rollup_count)
		return false;
	for (size_t i = 0; i < was->rollup_count; i++) {
		if (was->rollups[i].every_ns != next->rollups[i].every_ns)
			return false;
	}
	return !was->rollup_count || was->offset_ns == next->offset_ns;
}

/* A version that took over at a time which is in the middle of one of the new windows: that one would begin before it, and be nobody's. */
static bool windows_fit(const struct map_stream *s, const struct stream_conf *was, const struct stream_conf *next)
{
	bool same = was->size_ns == next->size_ns && was->advance_ns == next->advance_ns && was->offset_ns == next->offset_ns;
	bool always = s->phase != STREAM_CURRENT || s->from_ns < TIME_MIN_NS;
	return same || always || time_floor(s->from_ns, next->advance_ns, next->offset_ns) == s->from_ns;
}

static bool current_goes_on(const struct change *c, const struct map_stream *current, const struct stream_conf *next)
{
	struct stream_conf was;
	struct buf errors = {0};
	bool fine = current->fingerprint == next->version && !topology_stream_parse(c->was, current->definition, &was, &errors);
	buf_free(&errors);
	if (!fine)
		return false;
	fine = goes_on(&was, next) && windows_fit(current, &was, next);
	stream_conf_clear(&was);
	return fine;
}

/* The text defines another version than the one that it defined so far. */
static void replace_version(struct change *c, const struct stream_conf *s, struct buf *text)
{
	const struct stream_conf *was = conf_of(c->was, s->name);
	struct map_stream *pending = in_phase(&c->out, s->name, STREAM_PENDING);
	struct map_stream *current = in_phase(&c->out, s->name, STREAM_CURRENT);
	if (pending)
		give_up(c, pending);
	if (pending && current && current_goes_on(c, current, s)) {
		free(current->definition);
		current->definition = xstrdup("");
		buf_printf(text, "; the version that is in force stays");
		return;
	}
	if (current)
		keep_definition(c, current);
	add_version(c, s, STREAM_PENDING);
	char step[TIME_TEXT_MAX];
	int64_t offset_ns;
	duration_format(was ? map_boundary_step(was, s, &offset_ns) : s->slice_ns, step);
	buf_printf(text, "%sa new version, cut over at a boundary of %s", text->len ? "; " : "", step);
}

/* The text goes back to what the version in force can go on with: none need take over. */
static bool is_taken_back(struct change *c, const struct stream_conf *s)
{
	const struct map_stream *current = in_phase(&c->out, s->name, STREAM_CURRENT);
	return current && in_phase(&c->out, s->name, STREAM_PENDING) && current_goes_on(c, current, s);
}

static void change_stream(struct change *c, const struct stream_conf *s)
{
	const struct map_stream *live = in_phase(&c->out, s->name, STREAM_PENDING);
	live = live ? live : in_phase(&c->out, s->name, STREAM_CURRENT);
	const struct stream_conf *was = live ? conf_of(c->was, s->name) : NULL;
	struct buf text = {0};
	bool known = false;
	for (size_t i = 0; i < c->out.stream_count; i++)
		known |= !strcmp(c->out.streams[i].name, s->name);
	if (was)
		differ_stream(c, was, s, &text);
	if (!known)
		add_version(c, s, STREAM_CURRENT);
	else if (!live || !was || live->fingerprint != s->version || !goes_on(was, s) || !windows_fit(live, was, s) ||
		 is_taken_back(c, s))
		replace_version(c, s, &text);
	if (!live)
		tell(c, MAP_ADDED, "stream", s->name, "%s", known ? "follows what was called so before" : "");
	else if (text.len)
		tell(c, MAP_CHANGED, "stream", s->name, "%s", buf_cstr(&text));
	buf_free(&text);
}

/* Whatever the text defined is not fed any more; earlier versions are not either. */
static void end_stream(struct change *c, const char *name)
{
	for (size_t i = 0; i < c->out.stream_count; i++) {
		struct map_stream *s = &c->out.streams[i];
		if (strcmp(s->name, name))
			continue;
		if (s->phase == STREAM_PENDING) {
			give_up(c, s);
		} else if (s->phase == STREAM_CURRENT || s->phase == STREAM_CLOSING) {
			keep_definition(c, s);
			s->phase = STREAM_ENDED;
		}
	}
	tell(c, MAP_REMOVED, "stream", name, "its windows close; what it has is answered on");
}

static void check_definition(struct change *c, const struct stream_conf *s)
{
	struct buf text = {0}, errors = {0};
	struct stream_conf back;
	topology_stream_text(c->next, s, &text);
	if (text.len > MAP_DEFINITION_MAX)
		tell(c, MAP_REFUSED, "stream", s->name, "its definition is longer than %d bytes", MAP_DEFINITION_MAX);
	else if (topology_stream_parse(c->next, buf_cstr(&text), &back, &errors))
		tell(c, MAP_REFUSED, "stream", s->name, "its definition cannot be kept: %s", buf_cstr(&errors));
	else
		stream_conf_clear(&back);
	buf_free(&text);
	buf_free(&errors);
}

static void change_streams(struct change *c)
{
	for (size_t i = 0; i < c->was->stream_count; i++) {
		const char *name = c->was->streams[i].name;
		if (topology_stream(c->next, name) < 0)
			end_stream(c, name);
	}
	for (size_t i = 0; i < c->next->stream_count; i++) {
		check_definition(c, &c->next->streams[i]);
		change_stream(c, &c->next->streams[i]);
	}
}

/* ---- sinks ------------------------------------------------------------------------------------------------- */

static void change_sinks(struct change *c)
{
	for (size_t i = 0; i < c->was->sink_count; i++) {
		const struct sink_conf *s = &c->was->sinks[i];
		if (topology_sink(c->next, s->name) < 0)
			tell(c, MAP_REMOVED, "sink", s->name, "how far it had come is forgotten");
	}
	for (size_t i = 0; i < c->next->sink_count; i++) {
		const struct sink_conf *s = &c->next->sinks[i];
		int was = topology_sink(c->was, s->name);
		if (was < 0)
			tell(c, MAP_ADDED, "sink", s->name, "begins with the oldest rows that are kept for sinks");
		else if (!sink_conf_same(&c->was->sinks[was], s))
			tell(c, MAP_CHANGED, "sink", s->name, "goes on from where it has come to");
	}
}

/* ---- all of it --------------------------------------------------------------------------------------------- */

static void set_text(struct cluster_map *m, const char *text, size_t len)
{
	free(m->text);
	free(m->packed);
	m->packed = NULL;
	m->packed_len = 0;
	m->text = xstrndup(text, len);
	m->text_len = len;
}

static int make_change(struct change *c)
{
	change_cluster(c);
	change_nodes(c);
	change_edges(c);
	change_streams(c);
	change_sinks(c);
	if (c->told->refused)
		return WEIR_EINVAL;
	struct buf bytes = {0};
	int err = map_encode(&c->out, &bytes);
	buf_free(&bytes);
	return err;
}

int map_change(const struct cluster_map *m, const char *text, size_t len, struct cluster_map *ret,
    struct map_changes *ret_changes, struct buf *errors)
{
	struct change c = {.told = ret_changes};
	*ret_changes = (struct map_changes){0};
	if (len == m->text_len && !memcmp(text, m->text, len)) {
		map_copy(m, ret);
		return 0;
	}
	int err = len > TOPOLOGY_TEXT_MAX ? WEIR_ETOOBIG : topology_parse("topology", text, len, &c.next, errors);
	if (err)
		return err;
	err = topology_parse("topology", m->text, m->text_len, &c.was, errors);
	if (!err) {
		map_copy(m, &c.out);
		set_text(&c.out, text, len);
		c.out.text_version = ++c.out.version;
		err = make_change(&c);
		if (err)
			map_clear(&c.out);
		else
			*ret = c.out;
	}
	topology_free(c.was);
	topology_free(c.next);
	return err;
}

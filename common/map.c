#include "common/map.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"

void map_clear(struct cluster_map *m)
{
	free(m->text);
	free(m->packed);
	for (size_t i = 0; i < m->node_count; i++) {
		free(m->nodes[i].name);
		free(m->nodes[i].listen);
		free(m->nodes[i].http);
	}
	free(m->nodes);
	free(m->places);
	for (size_t i = 0; i < m->stream_count; i++) {
		free(m->streams[i].name);
		free(m->streams[i].definition);
	}
	free(m->streams);
	for (size_t i = 0; i < m->revoked_count; i++)
		free(m->revoked[i]);
	free(m->revoked);
	*m = (struct cluster_map){0};
}

static void *copy_of(const void *p, size_t n)
{
	char *copy = xmalloc(n + 1);
	if (n)
		memcpy(copy, p, n);
	copy[n] = 0;
	return copy;
}

void map_copy(const struct cluster_map *m, struct cluster_map *ret)
{
	struct cluster_map c = *m;
	c.text = copy_of(m->text, m->text_len);
	c.packed = m->packed ? copy_of(m->packed, m->packed_len) : NULL;
	c.nodes = copy_of(m->nodes, m->node_count * sizeof(*m->nodes));
	for (size_t i = 0; i < c.node_count; i++) {
		c.nodes[i].name = xstrdup(m->nodes[i].name);
		c.nodes[i].listen = xstrdup(m->nodes[i].listen);
		c.nodes[i].http = xstrdup(m->nodes[i].http);
	}
	c.places = copy_of(m->places, m->group_count * sizeof(*m->places));
	c.streams = copy_of(m->streams, m->stream_count * sizeof(*m->streams));
	for (size_t i = 0; i < c.stream_count; i++) {
		c.streams[i].name = xstrdup(m->streams[i].name);
		c.streams[i].definition = xstrdup(m->streams[i].definition);
	}
	c.revoked = copy_of(m->revoked, m->revoked_count * sizeof(*m->revoked));
	for (size_t i = 0; i < c.revoked_count; i++)
		c.revoked[i] = xstrdup(m->revoked[i]);
	*ret = c;
}

bool map_has_text_of(const struct cluster_map *m, uint64_t version)
{
	return version >= m->text_version && version <= m->version;
}

void map_first(const struct topology *t, const char *text, size_t len, struct cluster_map *ret)
{
	struct cluster_map m = {.version = 1, .text_version = 1, .text = copy_of(text, len), .text_len = len, .node_count = t->cloud_count,
	    .group_count = topology_groups(t), .stream_count = t->stream_count};
	m.nodes = xcalloc(m.node_count, sizeof(*m.nodes));
	for (size_t i = 0; i < m.node_count; i++) {
		m.nodes[i] = (struct map_node){CLOUD_MEMBER, xstrdup(t->clouds[i].name), xstrdup(t->clouds[i].listen),
		    xstrdup(t->clouds[i].http)};
	}
	m.places = copy_of(t->places, m.group_count * sizeof(*m.places));
	m.streams = xcalloc(m.stream_count, sizeof(*m.streams));
	for (size_t i = 0; i < m.stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		m.streams[i] = (struct map_stream){.name = xstrdup(s->name), .version = s->version,
		    .fingerprint = s->version, .phase = STREAM_CURRENT, .from_ns = INT64_MIN,
		    .answers_until_ns = INT64_MAX, .until_ns = INT64_MAX, .definition = xstrdup("")};
	}
	*ret = m;
}

/* ---- versions of streams ----------------------------------------------------------------------------------- */

static struct map_stream *find(struct cluster_map *m, const char *stream, uint32_t version)
{
	for (size_t i = 0; i < m->stream_count; i++) {
		if (m->streams[i].version == version && !strcmp(m->streams[i].name, stream))
			return &m->streams[i];
	}
	return NULL;
}

/* The definition of a version that is not the text's; without edges, which nobody here needs. */
static int definition_of(const struct map_stream *s, struct stream_conf *ret)
{
	struct topology nobody = {0};
	struct buf errors = {0};
	int err = topology_stream_parse(&nobody, s->definition, ret, &errors);
	buf_free(&errors);
	return err;
}

/* The end of the last window that starts before t: no reading at or after it counts in any such window. */
static int64_t last_end(const struct stream_conf *s, int64_t t_ns)
{
	return time_floor(t_ns - 1, s->advance_ns, s->offset_ns) + s->size_ns;
}

/* An earlier version answers, and is fed for, windows that start before t only. */
static void end_answers(struct map_stream *s, int64_t t_ns)
{
	struct stream_conf conf;
	if (s->answers_until_ns <= t_ns)
		return;
	s->answers_until_ns = t_ns;
	if (t_ns < TIME_MIN_NS) {
		s->until_ns = t_ns;
	} else if (!definition_of(s, &conf)) {
		int64_t until_ns = last_end(&conf, t_ns);
		s->until_ns = until_ns < s->until_ns ? until_ns : s->until_ns;
		stream_conf_clear(&conf);
	}
}

int map_cut(struct cluster_map *m, const char *stream, uint32_t version, int64_t t_ns)
{
	struct map_stream *next = find(m, stream, version);
	if (!next || next->phase != STREAM_PENDING)
		return WEIR_ENOTFOUND;
	if (t_ns != WATERMARK_NONE)
		t_ns = t_ns < TIME_MIN_NS ? TIME_MIN_NS : t_ns > TIME_MAX_NS ? TIME_MAX_NS : t_ns;
	for (size_t i = 0; i < m->stream_count; i++) {
		struct map_stream *s = &m->streams[i];
		if (s == next || strcmp(s->name, stream))
			continue;
		end_answers(s, t_ns);
		if (s->phase == STREAM_CURRENT)
			s->phase = STREAM_CLOSING;
	}
	next->phase = STREAM_CURRENT;
	next->from_ns = t_ns;
	m->version++;
	return 0;
}

int map_retire(struct cluster_map *m, const char *stream, uint32_t version)
{
	struct map_stream *s = find(m, stream, version);
	if (!s || (s->phase != STREAM_CLOSING && s->phase != STREAM_ENDED))
		return WEIR_ENOTFOUND;
	s->phase = STREAM_RETIRED;
	m->version++;
	return 0;
}

/* ---- revoked edges ----------------------------------------------------------------------------------------- */

/* The name's place, or the one that it would have. */
static size_t revoked_place(const struct cluster_map *m, const char *edge)
{
	size_t low = 0, high = m->revoked_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(m->revoked[mid], edge) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool map_is_revoked(const struct cluster_map *m, const char *edge)
{
	size_t at = revoked_place(m, edge);
	return at < m->revoked_count && !strcmp(m->revoked[at], edge);
}

int map_revoke(struct cluster_map *m, const char *edge, bool revoked)
{
	size_t at = revoked_place(m, edge), behind = m->revoked_count - at;
	if (map_is_revoked(m, edge) == revoked)
		return 0;
	if (!revoked) {
		free(m->revoked[at]);
		memmove(&m->revoked[at], &m->revoked[at + 1], (behind - 1) * sizeof(*m->revoked));
		m->revoked_count--;
	} else if (m->revoked_count == MAP_REVOKED_MAX) {
		return WEIR_ETOOBIG;
	} else {
		m->revoked = xrealloc(m->revoked, (m->revoked_count + 1) * sizeof(*m->revoked));
		memmove(&m->revoked[at + 1], &m->revoked[at], behind * sizeof(*m->revoked));
		m->revoked[at] = xstrdup(edge);
		m->revoked_count++;
	}
	m->version++;
	return 0;
}

/* ---- boundaries -------------------------------------------------------------------------------------------- */

static int64_t common_divisor(int64_t a, int64_t b)
{
	while (b) {
		int64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* The least common multiple, or 0 where it is over max. */
static int64_t common_multiple(int64_t a, int64_t b, int64_t max)
{
	int64_t m;
	return __builtin_mul_overflow(a / common_divisor(a, b), b, &m) || m > max ? 0 : m;
}

/* x with a * x = g modulo m, g being the common divisor of both: extended Euclid. */
static int64_t inverse(int64_t a, int64_t m)
{
	int64_t r0 = m, r1 = a % m, x0 = 0, x1 = 1;
	while (r1) {
		int64_t q = r0 / r1, r = r0 - q * r1, x = x0 - q * x1;
		r0 = r1;
		r1 = r;
		x0 = x1;
		x1 = x;
	}
	return x0 < 0 ? x0 + m : x0;
}

/* A time that is on both grids of windows, where step is their common multiple. False: there is none. */
static bool common_offset(const struct stream_conf *a, const struct stream_conf *b, int64_t step_ns, int64_t *ret_ns)
{
	int64_t g = common_divisor(a->advance_ns, b->advance_ns), apart = b->offset_ns - a->offset_ns;
	if (apart % g)
		return false;
	/* offset a + k * advance a, k = apart / g * (advance a / g)^-1 modulo advance b / g: all below MAP_BOUNDARY_MAX_NS */
	int64_t turn = b->advance_ns / g;
	int64_t k = apart / g % turn;
	k = k < 0 ? k + turn : k;
	__int128 at = turn == 1 ? 0 : (__int128)k * inverse(a->advance_ns / g, turn) % turn;
	*ret_ns = (int64_t)((a->offset_ns + at * a->advance_ns) % step_ns);
	return true;
}

static int64_t at_or_after(int64_t t_ns, int64_t step_ns, int64_t offset_ns)
{
	int64_t floor_ns = time_floor(t_ns, step_ns, offset_ns);
	return floor_ns == t_ns ? t_ns : floor_ns + step_ns;
}

int64_t map_boundary_step(const struct stream_conf *was, const struct stream_conf *next, int64_t *ret_offset_ns)
{
	int64_t step_ns = common_multiple(was->advance_ns, next->advance_ns, MAP_BOUNDARY_MAX_NS);
	if (step_ns && common_offset(was, next, step_ns, ret_offset_ns))
		return step_ns;
	/* Where windows of the next begin all the same: what is before the first of them is in a window of the one before it. */
	int64_t slices_ns = step_ns ? 0 : common_multiple(was->slice_ns, next->slice_ns, TIME_MAX_NS / 4);
	bool fits = slices_ns && slices_ns % next->advance_ns == 0 && next->offset_ns % next->advance_ns == 0;
	*ret_offset_ns = fits ? 0 : next->offset_ns;
	return fits ? slices_ns : next->advance_ns;
}

int64_t map_boundary(const struct stream_conf *was, const struct stream_conf *next, int64_t t_ns)
{
	int64_t offset_ns, step_ns = map_boundary_step(was, next, &offset_ns);
	t_ns = t_ns < TIME_MIN_NS ? TIME_MIN_NS : t_ns > TIME_MAX_NS ? TIME_MAX_NS : t_ns;
	return at_or_after(t_ns, step_ns, offset_ns);
}

#include "common/model.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/buf.h"
#include "common/condition.h"
#include "common/err.h"

#define QUANTILE_DECIMALS_MAX 6

static void where_free(struct where_conf *where, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(where[i].tag);
		free(where[i].pattern);
	}
	free(where);
}

static void edge_clear(struct edge_conf *e)
{
	free(e->name);
	free(e->data);
	free(e->http);
	for (size_t i = 0; i < e->tag_count; i++) {
		free(e->tags[i].key);
		free(e->tags[i].value);
	}
	free(e->tags);
	for (size_t i = 0; i < e->source_count; i++)
		source_conf_clear(&e->sources[i]);
	free(e->sources);
}

void stream_conf_clear(struct stream_conf *s)
{
	free(s->name);
	free(s->measurement);
	free(s->field);
	where_free(s->where, s->where_count);
	for (size_t i = 0; i < s->step_count; i++)
		where_free(s->steps[i].where, s->steps[i].where_count);
	free(s->steps);
	for (size_t i = 0; i < s->by_count; i++)
		free(s->by[i]);
	free(s->by);
	for (size_t i = 0; i < s->compute_count; i++)
		function_clear(&s->compute[i]);
	free(s->compute);
	for (size_t i = 0; i < s->distinct_count; i++)
		free(s->distinct[i]);
	free(s->distinct);
	free(s->rollups);
	free(s->edges);
	for (size_t i = 0; i < s->alert_count; i++)
		alert_conf_clear(&s->alerts[i]);
	free(s->alerts);
	*s = (struct stream_conf){0};
}

const struct topology *topology_hold(const struct topology *t)
{
	atomic_fetch_add(&((struct topology *)(uintptr_t)t)->holds, 1);
	return t;
}

void topology_free(const struct topology *held)
{
	struct topology *t = (struct topology *)(uintptr_t)held;
	if (!t || atomic_fetch_sub(&t->holds, 1))
		return;
	free(t->path);
	free(t->text);
	free(t->places);
	free(t->cluster);
	free(t->keys_dir);
	for (size_t i = 0; i < t->cloud_count; i++) {
		free(t->clouds[i].name);
		free(t->clouds[i].listen);
		free(t->clouds[i].http);
		free(t->clouds[i].data);
	}
	free(t->clouds);
	for (size_t i = 0; i < t->edge_count; i++)
		edge_clear(&t->edges[i]);
	free(t->edges);
	free(t->edges_by_name);
	for (size_t i = 0; i < t->stream_count; i++)
		stream_conf_clear(&t->streams[i]);
	free(t->streams);
	for (size_t i = 0; i < t->sink_count; i++)
		sink_conf_clear(&t->sinks[i]);
	free(t->sinks);
	for (size_t i = 0; i < t->revoked_count; i++)
		free(t->revoked[i]);
	free(t->revoked);
	free(t);
}

bool topology_revoked(const struct topology *t, const char *name)
{
	size_t low = 0, high = t->revoked_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(t->revoked[mid], name);
		if (c == 0)
			return true;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

int topology_cloud(const struct topology *t, const char *name)
{
	for (size_t i = 0; i < t->cloud_count; i++) {
		if (t->clouds[i].state != CLOUD_GONE && !strcmp(t->clouds[i].name, name))
			return (int)i;
	}
	return -1;
}

static int edge_by_order(const struct topology *t, const char *name)
{
	size_t low = 0, high = t->edge_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint32_t edge = t->edges_by_name[mid];
		int c = strcmp(t->edges[edge].name, name);
		if (c == 0)
			return t->edges[edge].gone ? -1 : (int)edge;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

int topology_edge(const struct topology *t, const char *name)
{
	if (t->edges_by_name)
		return edge_by_order(t, name);
	for (size_t i = 0; i < t->edge_count; i++) {
		if (!t->edges[i].gone && !strcmp(t->edges[i].name, name))
			return (int)i;
	}
	return -1;
}

int topology_stream(const struct topology *t, const char *name)
{
	int found = -1;
	for (size_t i = 0; i < t->stream_count; i++) {
		if (strcmp(t->streams[i].name, name))
			continue;
		if (found < 0 || t->streams[i].phase <= t->streams[found].phase)
			found = (int)i;
	}
	return found;
}

int topology_alerting(const struct topology *t, const char *name)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *s = &t->streams[i];
		if (s->alert_count && !strcmp(s->name, name))
			return (int)i;
	}
	return -1;
}

const char *stream_phase_text(enum stream_phase p)
{
	switch (p) {
	case STREAM_CURRENT:
		return "current";
	case STREAM_PENDING:
		return "pending";
	case STREAM_CLOSING:
		return "closing";
	case STREAM_ENDED:
		return "ended";
	case STREAM_RETIRED:
		return "retired";
	}
	return "unknown";
}

const char *cloud_state_text(enum cloud_state s)
{
	switch (s) {
	case CLOUD_MEMBER:
		return "member";
	case CLOUD_LEAVING:
		return "leaving";
	case CLOUD_DEAD:
		return "dead";
	case CLOUD_GONE:
		return "gone";
	}
	return "unknown";
}

int topology_sink(const struct topology *t, const char *name)
{
	for (size_t i = 0; i < t->sink_count; i++) {
		if (t->sinks[i].name && !strcmp(t->sinks[i].name, name))
			return (int)i;
	}
	return -1;
}

uint32_t sink_port(const struct sink_conf *s, const char *node)
{
	for (size_t i = 0; i < s->zmq.port_count; i++) {
		if (!strcmp(s->zmq.ports[i].node, node))
			return s->zmq.ports[i].port;
	}
	return s->zmq.port;
}

bool sink_takes(const struct sink_conf *s, const char *stream)
{
	for (size_t i = 0; i < s->stream_count; i++) {
		if (!strcmp(s->streams[i], stream))
			return true;
	}
	return !s->lists_streams;
}

int topology_stream_version_of(const struct topology *t, const char *name, uint32_t version)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		if (t->streams[i].version == version && !strcmp(t->streams[i].name, name))
			return (int)i;
	}
	return -1;
}

void topology_place(struct topology *t)
{
	uint32_t each = t->replicas < t->cloud_count ? t->replicas : (uint32_t)t->cloud_count;
	uint32_t nodes = (uint32_t)t->cloud_count;
	free(t->places);
	t->places = xcalloc(topology_groups(t), sizeof(*t->places));
	for (uint32_t g = 0; g < topology_groups(t); g++) {
		uint32_t first = g ? (g - 1) % nodes : 0;
		t->places[g].count = (uint8_t)each;
		for (uint32_t r = 0; r < each; r++)
			t->places[g].nodes[r] = (uint8_t)((first + r) % nodes);
	}
}

uint64_t topology_listed(const struct topology *t)
{
	struct buf b = {0};
	buf_varint(&b, t->shards);
	for (size_t i = 0; i < t->cloud_count; i++)
		buf_str(&b, t->clouds[i].name);
	uint64_t hash = XXH3_64bits(b.data, b.len);
	buf_free(&b);
	return hash ? hash : 1;
}

bool stream_expects(const struct stream_conf *s, uint32_t edge)
{
	size_t low = 0, high = s->edge_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->edges[mid] == edge)
			return true;
		if (s->edges[mid] < edge)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

uint32_t stream_shard(const struct topology *t, const char *stream, struct bytes group)
{
	uint8_t room[NAME_MAX_BYTES + 1 + GROUP_KEY_MAX];
	size_t head = strlen(stream) + 1;
	uint8_t *text = head + group.n <= sizeof(room) ? room : xmalloc(head + group.n);
	memcpy(text, stream, head);
	if (group.n)
		memcpy(text + head, group.p, group.n);
	uint64_t hash = XXH3_64bits(text, head + group.n);
	if (text != room)
		free(text);
	return (uint32_t)(hash % t->shards);
}

bool name_valid(const char *text)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strspn(text, allowed);
	return n > 0 && n <= NAME_MAX_BYTES && !text[n];
}

/* The digits after the p of "p99.9" as a fraction: one correctly rounded division, the same bits everywhere. */
static int parse_percent(const char *text, double *ret_q)
{
	uint64_t digits = 0, unit = 100;
	size_t n = 0;
	for (; *text >= '0' && *text <= '9'; text++, n++)
		digits = n < 3 ? digits * 10 + (uint64_t)(*text - '0') : UINT32_MAX;
	if (n == 0 || n > 3)
		return WEIR_EINVAL;
	if (*text == '.') {
		n = 0;
		for (text++; *text >= '0' && *text <= '9' && n < QUANTILE_DECIMALS_MAX; text++, n++) {
			digits = digits * 10 + (uint64_t)(*text - '0');
			unit *= 10;
		}
		if (n == 0)
			return WEIR_EINVAL;
	}
	if (*text || digits > unit)
		return WEIR_EINVAL;
	*ret_q = (double)digits / (double)unit;
	return 0;
}

static int parse_distinct(const char *text, char **ret_tag)
{
	static const char head[] = "distinct(";
	size_t n = strlen(text);
	if (n < sizeof(head) + 1 || strncmp(text, head, sizeof(head) - 1) || text[n - 1] != ')')
		return WEIR_EINVAL;
	*ret_tag = xstrndup(text + sizeof(head) - 1, n - sizeof(head));
	return 0;
}

int function_parse(const char *text, struct function_conf *ret_fn)
{
	static const struct {
		const char *name;
		enum function fn;
	} names[] = {
		{"count", FN_COUNT}, {"sum", FN_SUM}, {"mean", FN_MEAN}, {"min", FN_MIN}, {"max", FN_MAX},
		{"stddev", FN_STDDEV}, {"first", FN_FIRST}, {"last", FN_LAST},
	};
	struct function_conf fn = {0};
	size_t i = 0, count = sizeof(names) / sizeof(names[0]);
	while (i < count && strcmp(names[i].name, text))
		i++;
	if (i < count)
		fn.fn = names[i].fn;
	else if (*text == 'p' && !parse_percent(text + 1, &fn.q))
		fn.fn = FN_QUANTILE;
	else if (!parse_distinct(text, &fn.tag))
		fn.fn = FN_DISTINCT;
	else
		return WEIR_EINVAL;
	fn.text = xstrdup(text);
	*ret_fn = fn;
	return 0;
}

void function_clear(struct function_conf *fn)
{
	free(fn->tag);
	free(fn->text);
	*fn = (struct function_conf){0};
}

bool stream_computes(const struct stream_conf *s, const struct function_conf *fn)
{
	for (size_t i = 0; i < s->compute_count; i++) {
		const struct function_conf *c = &s->compute[i];
		if (c->fn == fn->fn && (fn->fn != FN_DISTINCT || !strcmp(c->tag, fn->tag)))
			return true;
	}
	return false;
}

uint64_t topology_distinct_seed(const struct topology *t)
{
	return XXH3_64bits(t->cluster, strlen(t->cluster));
}

/* Where the class that starts at p ("[...") ends: just after its ], or NULL where it is not closed. */
static const char *class_end(const char *p)
{
	p++;
	if (*p == '!')
		p++;
	if (*p == ']')
		p++;
	while (*p && *p != ']')
		p += p[0] == '\\' && p[1] ? 2 : 1;
	return *p ? p + 1 : NULL;
}

/* One character of a class: itself, or what a backslash quotes. */
static unsigned char class_char(const char **p)
{
	if (**p == '\\')
		(*p)++;
	return (unsigned char)*(*p)++;
}

static bool class_has(const char *p, const char *end, unsigned char c)
{
	bool negate = p[1] == '!', found = false;
	p += 1 + negate;
	end--; /* at the ] */
	while (p < end) {
		unsigned char from = class_char(&p), to = from;
		if (*p == '-' && p + 1 < end) {
			p++;
			to = class_char(&p);
		}
		found |= from <= c && c <= to;
	}
	return found != negate;
}

/* Whether the one-character piece of the pattern at p takes c; *ret_next is behind the piece. */
static bool piece_takes(const char *p, unsigned char c, const char **ret_next)
{
	*ret_next = p + 1;
	switch (*p) {
	case 0:
		return false;
	case '?':
		return true;
	case '\\':
		if (!p[1])
			return c == '\\';
		*ret_next = p + 2;
		return (unsigned char)p[1] == c;
	case '[': {
		const char *end = class_end(p);
		if (!end)
			return c == '[';
		*ret_next = end;
		return class_has(p, end, c);
	}
	default:
		return (unsigned char)*p == c;
	}
}

/* On a mismatch only the last * needs to take more: what an earlier one took stays right. */
bool glob_match(const char *pattern, const char *text, size_t text_len)
{
	const char *after_star = NULL;
	size_t i = 0, star_i = 0;
	while (i < text_len) {
		const char *next;
		if (*pattern == '*') {
			after_star = ++pattern;
			star_i = i;
		} else if (piece_takes(pattern, (unsigned char)text[i], &next)) {
			pattern = next;
			i++;
		} else if (after_star) {
			pattern = after_star;
			i = ++star_i;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

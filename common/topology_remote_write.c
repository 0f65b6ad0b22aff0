/* What topology.yaml may say of sinks of the type remote_write, beyond their table in topology_sink.c. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/prometheus_name.h"
#include "common/topology_parts.h"
#include "common/url.h"
#include "common/utf8.h"

/* ---- labels ----------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct model_tag *)a)->key, ((const struct model_tag *)b)->key);
}

/* It is one as it stands: nothing of it would be replaced. */
static bool is_label(const char *text)
{
	struct buf b = {0};
	prometheus_label_name(text, &b);
	bool is = b.len == strlen(text) && !memcmp(b.data, text, b.len);
	buf_free(&b);
	return is;
}

static bool is_utf8(const char *text)
{
	size_t n = strlen(text), at = 0, len = 1;
	for (; at < n && len; at += len)
		len = utf8_len((const uint8_t *)text + at, n - at);
	return len;
}

static void read_label(struct conf *c, const struct conf_node *v, struct sink_conf *s)
{
	const char *key, *text;
	if (!conf_text(c, v->key, TAG_BYTES_MAX, &key) || !conf_text(c, v, TAG_BYTES_MAX, &text))
		return;
	if (!is_label(key))
		conf_error(c, v->key, "%s is no label of Prometheus: [a-zA-Z_][a-zA-Z0-9_]*, and not __ at its beginning", conf_quote(c, key));
	else if (!strcmp(key, PROMETHEUS_SHARD_LABEL))
		conf_error(c, v->key, "%s is what parts of %s are told apart by", conf_quote(c, key), GROUP_OTHER);
	else if (!is_utf8(text))
		conf_error(c, v, "the value is no UTF-8");
	else
		s->remote_write.labels[s->remote_write.label_count++] = (struct model_tag){xstrdup(key), xstrdup(text)};
}

void topology_read_remote_labels(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	if (!conf_expect(c, map, CONF_MAP))
		return;
	if (map->count > REMOTE_LABELS_MAX) {
		conf_error(c, map, "%zu labels; at most %d", map->count, REMOTE_LABELS_MAX);
		return;
	}
	s->remote_write.labels = xcalloc(map->count + 1, sizeof(*s->remote_write.labels));
	for (const struct conf_node *v = map->first; v; v = v->next)
		read_label(c, v, s);
	qsort(s->remote_write.labels, s->remote_write.label_count, sizeof(*s->remote_write.labels), by_key);
}

void topology_clear_remote_labels(void *object)
{
	struct sink_conf *s = object;
	for (size_t i = 0; i < s->remote_write.label_count; i++) {
		free(s->remote_write.labels[i].key);
		free(s->remote_write.labels[i].value);
	}
	free(s->remote_write.labels);
	s->remote_write.labels = NULL;
	s->remote_write.label_count = 0;
}

bool topology_same_remote_labels(const void *a, const void *b)
{
	const struct sink_conf *x = a, *y = b;
	bool same = x->remote_write.label_count == y->remote_write.label_count;
	for (size_t i = 0; same && i < x->remote_write.label_count; i++) {
		const struct model_tag *l = &x->remote_write.labels[i], *m = &y->remote_write.labels[i];
		same = !strcmp(l->key, m->key) && !strcmp(l->value, m->value);
	}
	return same;
}

/* ---- the type's own keys ---------------------------------------------------------------------------------- */

static void check_credentials(struct conf *c, const struct conf_node *map)
{
	const struct conf_node *user = conf_get(map, "user"), *password = conf_get(map, "password_file");
	if (user && !password)
		conf_error_key(c, user, "needs a `password_file`");
	if (password && !user)
		conf_error_key(c, password, "needs a `user`");
	if (user && conf_get(map, "token_file"))
		conf_error_key(c, user, "either `token_file` or `user`");
}

void topology_check_remote_write(struct conf *c, const struct conf_node *map, void *object)
{
	struct sink_conf *s = object;
	const struct conf_node *url = conf_get(map, "url");
	const char *problem = s->remote_write.url ? url_problem(s->remote_write.url) : NULL;
	bool secret = s->remote_write.token_file || s->remote_write.password_file || s->remote_write.headers_file;
	if (problem)
		conf_error(c, url, "%s: %s", conf_quote(c, s->remote_write.url), problem);
	else if (s->remote_write.url && secret && !url_is_private(s->remote_write.url))
		conf_error(c, url, "%s: the secret would travel unencrypted; use https://", conf_quote(c, s->remote_write.url));
	check_credentials(c, map);
	if (!conf_get(map, "state"))
		s->only_final = true; /* a sample that Prometheus has stays as it is */
}

/* ---- names ------------------------------------------------------------------------------------------------ */

struct name {
	char *metric;
	const char *stream, *function; /* function: NULL for the sketch, which stands for the stream's name as well */
};

static int by_metric(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->metric, ((const struct name *)b)->metric);
}

static void add_name(struct name *all, size_t *count, const char *stream, const char *function)
{
	struct buf b = {0};
	prometheus_metric_name(stream, function, &b);
	all[(*count)++] = (struct name){xstrdup(buf_cstr(&b)), stream, function};
	buf_free(&b);
}

static void refuse_names(struct conf *c, const struct conf_node *map, const struct name *a, const struct name *b)
{
	bool both = a->function && b->function && strcmp(a->function, b->function);
	if (both && !strcmp(a->stream, b->stream))
		conf_error(c, map, "%s and %s of stream %s would both be %s", conf_quote(c, a->function), conf_quote(c, b->function),
		    conf_quote(c, a->stream), a->metric);
	else if (strcmp(a->stream, b->stream))
		conf_error(c, map, "the streams %s and %s would both be %s", conf_quote(c, a->stream), conf_quote(c, b->stream), a->metric);
}

static void check_metrics(struct conf *c, const struct conf_node *map, struct name *all, size_t count)
{
	qsort(all, count, sizeof(*all), by_metric);
	for (size_t i = 0; i < count; i++) {
		if (i && !strcmp(all[i - 1].metric, all[i].metric))
			refuse_names(c, map, &all[i - 1], &all[i]);
	}
	for (size_t i = 0; i < count; i++)
		free(all[i].metric);
}

static bool has_label(const struct sink_conf *s, const char *tag)
{
	struct buf b = {0};
	prometheus_label_name(tag, &b);
	bool has = !strcmp(buf_cstr(&b), PROMETHEUS_SHARD_LABEL);
	for (size_t i = 0; i < s->remote_write.label_count; i++)
		has |= !strcmp(s->remote_write.labels[i].key, buf_cstr(&b));
	buf_free(&b);
	return has;
}

static void check_tags(struct conf *c, const struct conf_node *map, const struct sink_conf *s, const struct stream_conf *stream)
{
	size_t a, b;
	if (prometheus_labels_collide(stream->by, stream->by_count, &a, &b))
		conf_error(c, map, "the tags %s and %s of stream %s would both be one label", conf_quote(c, stream->by[a]),
		    conf_quote(c, stream->by[b]), conf_quote(c, stream->name));
	for (size_t i = 0; i < stream->by_count; i++) {
		if (has_label(s, stream->by[i]))
			conf_error(c, map, "the tag %s of stream %s would be a label that there is already", conf_quote(c, stream->by[i]),
			    conf_quote(c, stream->name));
	}
}

void topology_check_remote_names(struct conf *c, const struct conf_node *map, const struct topology *t, const struct sink_conf *s)
{
	size_t max = 0, count = 0;
	for (size_t i = 0; i < t->stream_count; i++)
		max += 1 + t->streams[i].compute_count;
	struct name *all = xcalloc(max + 1, sizeof(*all));
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct stream_conf *stream = &t->streams[i];
		if (!stream->name || !sink_takes(s, stream->name))
			continue;
		add_name(all, &count, stream->name, NULL);
		for (size_t k = 0; k < stream->compute_count && stream->compute[k].text; k++)
			add_name(all, &count, stream->name, stream->compute[k].text);
		check_tags(c, map, s, stream);
	}
	check_metrics(c, map, all, count);
	free(all);
}

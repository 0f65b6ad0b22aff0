#include "edged/scrape.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/line.h"

#define EXPORTED_MAX 4 /* of one label: beyond that it is there twice, and the sample refused for it */

void scrape_free(struct scrape *s)
{
	buf_free(&s->value);
	buf_free(&s->key);
}

char *scrape_instance(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t len = strcspn(host, "/?#");
	const char *bracket = memchr(host, ']', len), *rest = bracket ? bracket : host;
	bool port = memchr(rest, ':', len - (size_t)(rest - host)) != NULL;
	return xasprintf("%.*s%s", (int)len, host, port ? "" : !strncmp(url, "https:", 6) ? ":443" : ":80");
}

static bool any_matches(const struct model_texts *globs, struct bytes name)
{
	bool found = false;
	for (size_t i = 0; i < globs->count && !found; i++)
		found = glob_match(globs->items[i], (const char *)name.p, name.n);
	return found;
}

bool scrape_wants(const struct scrape_conf *conf, struct bytes name)
{
	return (!conf->include.count || any_matches(&conf->include, name)) && !any_matches(&conf->exclude, name);
}

static struct bytes text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

static bool is(struct bytes b, const char *text)
{
	return b.n == strlen(text) && !memcmp(b.p, text, b.n);
}

static void put_tag(struct buf *out, struct bytes key, struct bytes value)
{
	buf_u8(out, ',');
	line_put_key(out, key);
	buf_u8(out, '=');
	line_put_key(out, value);
}

static bool has_label(struct bytes labels, const struct buf *name)
{
	struct bytes key, escaped;
	while (prom_next_label(&labels, &key, &escaped))
		if (escaped.n && key.n == name->len && !memcmp(key.p, name->data, key.n))
			return true;
	return false;
}

/* Who passes on what others have scraped may send such a name, too: it is put before it as often as it takes. */
static struct bytes exported(struct scrape *s, const char *name, struct bytes labels)
{
	unsigned times = 0;
	do {
		times++;
		buf_clear(&s->key);
		for (unsigned i = 0; i < times; i++)
			buf_printf(&s->key, "exported_");
		buf_printf(&s->key, "%s", name);
	} while (times < EXPORTED_MAX && has_label(labels, &s->key));
	return bytes_of(s->key.data, s->key.len);
}

struct own_labels {
	bool job, instance; /* the exporter's are kept */
};

/* labels: all of the sample. */
static void put_label(struct scrape *s, struct bytes key, struct bytes labels, struct buf *out, struct own_labels *own)
{
	struct bytes value = bytes_of(s->value.data, s->value.len);
	bool job = is(key, "job"), instance = is(key, "instance");
	if (s->conf->honor_labels) {
		own->job |= job;
		own->instance |= instance;
	} else if (job || instance) {
		key = exported(s, job ? "job" : "instance", labels);
	}
	put_tag(out, key, value);
}

static void put_labels(struct scrape *s, struct bytes labels, struct buf *out)
{
	struct bytes key, escaped, all = labels;
	struct own_labels own = {false, false};
	while (prom_next_label(&labels, &key, &escaped)) {
		buf_clear(&s->value);
		prom_put_value(escaped, &s->value);
		if (s->value.len)
			put_label(s, key, all, out, &own);
	}
	if (!own.instance)
		put_tag(out, text_of("instance"), text_of(s->instance));
	if (!own.job)
		put_tag(out, text_of("job"), text_of(s->job));
}

static void put_value(double value, int64_t time_ns, struct buf *out)
{
	buf_printf(out, " value=");
	line_put_float(out, value);
	buf_printf(out, " %" PRId64 "\n", time_ns);
}

const char *scrape_put(struct scrape *s, const struct prom_sample *sample, struct buf *out)
{
	int64_t time_ns = s->time_ns;
	if (!isfinite(sample->value))
		return SCRAPE_REFUSED_NOT_FINITE;
	if (sample->has_time && s->conf->honor_timestamps && __builtin_mul_overflow(sample->time_ms, NS_PER_MS, &time_ns))
		return scrape_refusal(PROM_BAD_TIME);
	line_put_measurement(out, sample->name);
	put_labels(s, sample->labels, out);
	put_value(sample->value, time_ns, out);
	return NULL;
}

const char *scrape_refusal(enum prom_error e)
{
	switch (e) {
	case PROM_BAD_LABEL:
		return line_error_label(LINE_BAD_TAG);
	case PROM_BAD_VALUE:
		return line_error_label(LINE_BAD_NUMBER);
	case PROM_BAD_TIME:
		return line_error_label(LINE_BAD_TIMESTAMP);
	case PROM_TRAILING:
		return line_error_label(LINE_TRAILING);
	case PROM_TRUNCATED:
		return "truncated";
	case PROM_FINE:
	case PROM_BAD_NAME:
		break;
	}
	return line_error_label(LINE_NO_MEASUREMENT);
}

static void put_own(const struct scrape *s, const char *name, double value, struct buf *out)
{
	line_put_measurement(out, text_of(name));
	put_tag(out, text_of("instance"), text_of(s->instance));
	put_tag(out, text_of("job"), text_of(s->job));
	put_value(value, s->time_ns, out);
}

void scrape_put_own(struct scrape *s, bool up, double seconds, uint64_t samples, struct buf *out)
{
	put_own(s, "up", up, out);
	put_own(s, "scrape_duration_seconds", seconds, out);
	put_own(s, "scrape_samples_scraped", (double)samples, out);
}

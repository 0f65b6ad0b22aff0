#include "common/prometheus_name.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/utf8.h"
#include "common/window.h"

static bool is_letter(char c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void put_part(struct buf *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_u8(out, is_letter(text[i]) || is_digit(text[i]) ? (uint8_t)text[i] : '_');
}

void prometheus_metric_name(const char *stream, const char *function, struct buf *out)
{
	buf_put(out, "weir:", 5);
	put_part(out, stream, strlen(stream));
	if (!function)
		return;
	size_t n = strlen(function);
	buf_u8(out, ':');
	put_part(out, function, n && function[n - 1] == ')' ? n - 1 : n);
}

void prometheus_label_name(const char *tag, struct buf *out)
{
	if (is_digit(tag[0]))
		buf_u8(out, '_');
	else if (tag[0] == '_' && tag[1] == '_')
		buf_put(out, "tag", 3);
	put_part(out, tag, strlen(tag));
}

bool prometheus_quantile_of(struct bytes name, const char *stream, char ret[16])
{
	struct buf head = {0};
	prometheus_metric_name(stream, "p", &head);
	size_t n = name.n - head.len;
	bool is = name.n > head.len && n < 14 && !memcmp(name.p, head.data, head.len);
	for (size_t i = 0; is && i < n; i++) {
		char c = (char)name.p[head.len + i];
		is = is_digit(c) || c == '_';
		ret[i + 1] = c == '_' ? '.' : c;
	}
	if (is) {
		ret[0] = 'p';
		ret[n + 1] = 0;
	}
	buf_free(&head);
	return is;
}

/* ---- labels ------------------------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	const struct prometheus_label *x = a, *y = b;
	return group_order(x->name, y->name);
}

void prometheus_labels_make(struct bytes metric, char *const *tags, const struct bytes *values, size_t count,
    struct prometheus_labels *labels)
{
	struct buf *text = &labels->text;
	size_t name_n[BY_MAX], value_n[BY_MAX], kept = 0;
	buf_clear(text);
	for (size_t i = 0; i < count; i++) {
		size_t from = text->len;
		if (!values[i].n)
			continue;
		prometheus_label_name(tags[i], text);
		name_n[kept] = text->len - from;
		utf8_put(text, values[i].p, values[i].n);
		value_n[kept] = text->len - from - name_n[kept];
		kept++;
	}
	const uint8_t *p = text->data; /* it moves no more */
	for (size_t i = 0; i < kept; i++) {
		labels->all[i] = (struct prometheus_label){bytes_of(p, name_n[i]), bytes_of(p + name_n[i], value_n[i])};
		p += name_n[i] + value_n[i];
	}
	labels->all[kept] = (struct prometheus_label){bytes_of("__name__", 8), metric};
	labels->count = kept + 1;
	qsort(labels->all, labels->count, sizeof(labels->all[0]), by_name);
}

void prometheus_labels_add(struct prometheus_labels *labels, const struct model_tag *more, size_t count)
{
	weir_assert(labels->count + count <= sizeof(labels->all) / sizeof(labels->all[0]));
	for (size_t i = 0; i < count; i++) {
		labels->all[labels->count++] = (struct prometheus_label){bytes_of(more[i].key, strlen(more[i].key)),
		    bytes_of(more[i].value, strlen(more[i].value))};
	}
	qsort(labels->all, labels->count, sizeof(labels->all[0]), by_name);
}

bool prometheus_labels_collide(char *const *tags, size_t count, size_t *ret_a, size_t *ret_b)
{
	struct buf a = {0}, b = {0};
	bool same = false;
	for (size_t i = 0; i < count && !same; i++) {
		for (size_t k = 0; k < i && !same; k++) {
			buf_clear(&a);
			buf_clear(&b);
			prometheus_label_name(tags[k], &a);
			prometheus_label_name(tags[i], &b);
			same = a.len == b.len && !memcmp(a.data, b.data, a.len);
			*ret_a = same ? k : *ret_a;
			*ret_b = same ? i : *ret_b;
		}
	}
	buf_free(&a);
	buf_free(&b);
	return same;
}

int64_t prometheus_ms(int64_t t_ns)
{
	return time_floor(t_ns, NS_PER_MS, 0) / NS_PER_MS;
}

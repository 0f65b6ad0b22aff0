/* Lists of texts, which tables of topology files read with CONF_KIND_CUSTOM. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topology_parts.h"

static void add_text(struct conf *c, const struct conf_node *value, size_t bytes_max, struct model_texts *ret)
{
	const char *text;
	if (conf_text(c, value, bytes_max, &text))
		ret->items[ret->count++] = xstrdup(text);
}

void topology_read_texts(struct conf *c, const struct conf_node *value, size_t count_max, size_t bytes_max,
    struct model_texts *ret)
{
	if (value->type == CONF_SCALAR) {
		ret->items = xcalloc(1, sizeof(ret->items[0]));
		add_text(c, value, bytes_max, ret);
		return;
	}
	if (!conf_expect(c, value, CONF_LIST))
		return;
	if (value->count < 1 || value->count > count_max) {
		conf_error(c, value, "expected 1 to %zu items, found %zu", count_max, value->count);
		return;
	}
	ret->items = xcalloc(value->count, sizeof(ret->items[0]));
	for (const struct conf_node *v = value->first; v; v = v->next)
		add_text(c, v, bytes_max, ret);
}

void topology_clear_texts(struct model_texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i]);
	free(t->items);
	*t = (struct model_texts){0};
}

bool model_texts_same(const struct model_texts *a, const struct model_texts *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; same && i < a->count; i++)
		same = !strcmp(a->items[i], b->items[i]);
	return same;
}

/* Maps whose key `type` chooses what else they may hold. */
#include <string.h>

#include "common/topology_parts.h"

size_t topology_type(const struct conf_node *map, const char *const *names, size_t count)
{
	const struct conf_node *type = conf_get(map, "type");
	size_t i = 0;
	while (i < count && (!type || strcmp(type->text, names[i])))
		i++;
	return i;
}

/* "tcp, file or stdin" */
static void put_names(struct buf *out, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", !i ? "" : i + 1 < count ? ", " : " or ", names[i]);
}

size_t topology_select_type(struct conf *c, const struct conf_node *map, const char *what, const char *const *names,
    size_t count)
{
	size_t type = topology_type(map, names, count);
	const struct conf_node *node = conf_get(map, "type");
	const char *text;
	struct buf all = {0};
	if (type < count)
		return type;
	put_names(&all, names, count);
	if (!node) {
		conf_error(c, map, "`type` is missing: %s", buf_cstr(&all));
	} else if (conf_text(c, node, TAG_BYTES_MAX, &text)) {
		const char *meant = conf_suggest(text, names, count);
		if (meant)
			conf_error(c, node, "no %s type %s; did you mean `%s`?", what, conf_quote(c, text), meant);
		else
			conf_error(c, node, "no %s type %s: %s", what, conf_quote(c, text), buf_cstr(&all));
	}
	buf_free(&all);
	return count;
}

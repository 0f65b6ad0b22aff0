#include "common/codec_row.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/utf8.h"
#include "proto/row.pb-c.h"

/* All that one message points to, freed at once. */
struct made {
	struct buf texts; /* each with its NUL; room for all of them from the start, so that none moves */
	Weir__Result__Tag *tags, **tag_list;
	Weir__Result__Value *values, **value_list;
	char *missing[ROWS_MISSING_MAX];
};

#define GROWN 3 /* a byte that is no UTF-8 becomes as many */

static size_t room_for(struct bytes text)
{
	return GROWN * text.n + 1;
}

static size_t room_for_all(const struct row_message *m)
{
	size_t n = room_for(m->stream) + room_for(m->id);
	for (size_t i = 0; i < m->tag_count; i++)
		n += room_for(m->tags[i].key) + room_for(m->tags[i].value);
	for (size_t i = 0; i < m->value_count; i++)
		n += room_for(m->values[i].function);
	for (size_t i = 0; i < m->edges->missing_count; i++)
		n += room_for(m->edges->missing[i]);
	return n;
}

static char *make_text(struct made *made, struct bytes text)
{
	size_t at = made->texts.len, done = 0;
	while (done < text.n) {
		const uint8_t *nul = memchr(text.p + done, 0, text.n - done);
		size_t n = nul ? (size_t)(nul - text.p) - done : text.n - done;
		utf8_put(&made->texts, text.p + done, n);
		if (nul)
			buf_put(&made->texts, "\xef\xbf\xbd", 3);
		done += n + (nul != NULL);
	}
	buf_u8(&made->texts, 0);
	return (char *)made->texts.data + at;
}

static void make_tags(struct made *made, const struct row_message *m)
{
	made->tags = xcalloc(m->tag_count + 1, sizeof(*made->tags));
	made->tag_list = xcalloc(m->tag_count + 1, sizeof(*made->tag_list));
	for (size_t i = 0; i < m->tag_count; i++) {
		weir__result__tag__init(&made->tags[i]);
		made->tags[i].key = make_text(made, m->tags[i].key);
		made->tags[i].value = make_text(made, m->tags[i].value);
		made->tag_list[i] = &made->tags[i];
	}
}

static void make_values(struct made *made, const struct row_message *m)
{
	made->values = xcalloc(m->value_count + 1, sizeof(*made->values));
	made->value_list = xcalloc(m->value_count + 1, sizeof(*made->value_list));
	for (size_t i = 0; i < m->value_count; i++) {
		const struct row_number *from = &m->values[i];
		weir__result__value__init(&made->values[i]);
		made->values[i].function = make_text(made, from->function);
		if (from->has_value) {
			made->values[i].has_value_case = WEIR__RESULT__VALUE__HAS_VALUE_VALUE;
			made->values[i].value = from->value;
		}
		if (from->has_error) {
			made->values[i].has_error_case = WEIR__RESULT__VALUE__HAS_ERROR_ERROR;
			made->values[i].error = from->error;
		}
		made->value_list[i] = &made->values[i];
	}
}

static void make_edges(struct made *made, const struct rows_edges *e, Weir__Result__Edges *ret)
{
	weir__result__edges__init(ret);
	weir_assert(e->missing_count <= ROWS_MISSING_MAX);
	for (size_t i = 0; i < e->missing_count; i++)
		made->missing[i] = make_text(made, e->missing[i]);
	ret->expected = e->expected;
	ret->contributed = e->contributed;
	ret->idle = e->idle;
	ret->partitioned = e->partitioned;
	ret->missing = made->missing;
	ret->n_missing = e->missing_count;
}

static Weir__Result__State state_of(enum window_state s)
{
	switch (s) {
	case WINDOW_OPEN:
		return WEIR__RESULT__STATE__OPEN;
	case WINDOW_PROVISIONAL:
		return WEIR__RESULT__STATE__PROVISIONAL;
	case WINDOW_FINAL:
		break;
	}
	return WEIR__RESULT__STATE__FINAL;
}

static void free_made(struct made *made)
{
	buf_free(&made->texts);
	free(made->tags);
	free(made->tag_list);
	free(made->values);
	free(made->value_list);
}

void row_message_encode(const struct row_message *m, struct buf *out)
{
	struct made made = {0};
	Weir__Result__Row row;
	Weir__Result__Edges edges;
	weir__result__row__init(&row);
	buf_reserve(&made.texts, room_for_all(m));
	row.stream = make_text(&made, m->stream);
	row.id = make_text(&made, m->id);
	row.version = m->version;
	row.start_ns = m->start_ns;
	row.end_ns = m->end_ns;
	make_tags(&made, m);
	row.group = made.tag_list;
	row.n_group = m->tag_count;
	make_values(&made, m);
	row.values = made.value_list;
	row.n_values = m->value_count;
	row.state = state_of(m->state);
	row.revision = m->revision;
	make_edges(&made, m->edges, &edges);
	row.edges = &edges;
	if (m->has_shard) {
		row.has_shard_case = WEIR__RESULT__ROW__HAS_SHARD_SHARD;
		row.shard = m->shard;
	}
	buf_reserve(out, weir__result__row__get_packed_size(&row));
	out->len += weir__result__row__pack(&row, out->data + out->len);
	free_made(&made);
}

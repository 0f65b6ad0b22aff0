#include "cloudd/alert_json.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "common/json.h"

static void put_text(struct buf *out, const char *key, struct bytes text)
{
	buf_printf(out, ", \"%s\": ", key);
	json_bytes(out, (const char *)text.p, text.n);
}

static void put_text_or_null(struct buf *out, const char *key, struct bytes text)
{
	if (text.n)
		put_text(out, key, text);
	else
		buf_printf(out, ", \"%s\": null", key);
}

/* As sink_row_is_part(). */
static bool is_part(const struct alert_basis *basis, struct bytes group)
{
	uint8_t room[GROUP_KEY_MAX];
	struct bytes other = group_other(basis->by_count, room);
	return basis->by_count && other.n == group.n && !memcmp(other.p, group.p, other.n);
}

bool alert_event_is_part(const struct alert_event *e)
{
	return is_part(&e->basis, e->group);
}

/* One that begins to fire and one that is resolved in one window, as by a change, are two. */
void alert_event_id(const struct alert_event *e, char out[ALERT_ID_BYTES])
{
	struct buf b = {0};
	buf_bytes(&b, e->def.stream.p, e->def.stream.n);
	buf_bytes(&b, e->def.name.p, e->def.name.n);
	buf_bytes(&b, e->group.p, e->group.n);
	for (uint32_t i = 0; i < e->basis.by_count; i++)
		buf_bytes(&b, e->basis.by[i].p, e->basis.by[i].n);
	if (alert_event_is_part(e))
		buf_u32(&b, e->shard);
	buf_svarint(&b, e->window_ns);
	buf_svarint(&b, e->basis.grid.size_ns);
	buf_u8(&b, e->firing);
	XXH128_hash_t h = XXH3_128bits(b.data, b.len);
	buf_free(&b);
	snprintf(out, ALERT_ID_BYTES, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

static void put_group(const struct alert_basis *basis, struct bytes group, uint32_t shard, struct buf *out)
{
	struct group_value values[BY_MAX];
	bool ok = group_split(group, basis->by_count, values);
	buf_printf(out, ", \"group\": {");
	for (uint32_t i = 0; ok && i < basis->by_count; i++) {
		buf_printf(out, i ? ", " : "");
		json_bytes(out, (const char *)basis->by[i].p, basis->by[i].n);
		buf_printf(out, ": ");
		json_bytes(out, (const char *)values[i].text.p, values[i].text.n);
	}
	buf_printf(out, "}");
	if (is_part(basis, group))
		buf_printf(out, ", \"shard\": %u", shard);
}

static void put_window(const struct alert_basis *basis, int64_t window_ns, struct buf *out)
{
	buf_printf(out, ", \"window\": {\"start\": ");
	json_time(out, window_ns);
	buf_printf(out, ", \"end\": ");
	json_time(out, window_ns + basis->grid.size_ns);
	buf_printf(out, "}");
}

static void put_values(struct bytes values, struct buf *out)
{
	buf_printf(out, ", \"values\": ");
	if (values.n)
		buf_put(out, values.p, values.n);
	else
		buf_printf(out, "{}");
}

static void put_about(const struct alert_def *d, struct buf *out)
{
	put_text_or_null(out, "severity", d->severity);
	put_text_or_null(out, "summary", d->summary);
}

void alert_event_json(const struct alert_event *e, struct buf *out)
{
	char id[ALERT_ID_BYTES];
	alert_event_id(e, id);
	buf_printf(out, "{\"kind\": \"alert\", \"id\": \"%s\"", id);
	put_text(out, "alert", e->def.name);
	put_text(out, "stream", e->def.stream);
	put_text(out, "when", e->def.when);
	buf_printf(out, ", \"for\": %u, \"state\": \"%s\"", e->def.for_windows, e->firing ? "firing" : "resolved");
	if (e->firing)
		buf_printf(out, ", \"reason\": null");
	else
		buf_printf(out, ", \"reason\": \"%s\"", alert_reason_text(e->reason));
	buf_printf(out, ", \"since\": ");
	json_time(out, e->since_ns);
	put_window(&e->basis, e->window_ns, out);
	put_group(&e->basis, e->group, e->shard, out);
	put_values(e->values, out);
	put_about(&e->def, out);
	buf_printf(out, ", \"at\": ");
	json_time(out, e->at_ns);
	buf_printf(out, "}");
}

void alert_event_key_json(const struct alert_event *e, struct buf *out)
{
	buf_printf(out, "{\"alert\": ");
	json_bytes(out, (const char *)e->def.name.p, e->def.name.n);
	put_text(out, "stream", e->def.stream);
	put_group(&e->basis, e->group, e->shard, out);
	buf_printf(out, "}");
}

void alert_group_json(const struct alert_record *a, const struct alert_group *g, struct bytes group, uint32_t shard, struct buf *out)
{
	buf_printf(out, "{\"name\": ");
	json_bytes(out, (const char *)a->def.name.p, a->def.name.n);
	put_text(out, "stream", a->def.stream);
	put_text(out, "when", a->def.when);
	buf_printf(out, ", \"for\": %u, \"state\": \"%s\", \"since\": ", a->def.for_windows, g->firing ? "firing" : "pending");
	json_time(out, g->since_ns);
	put_window(&a->basis, g->window_ns, out);
	put_group(&a->basis, group, shard, out);
	put_values(g->values, out);
	put_about(&a->def, out);
	buf_printf(out, "}");
}

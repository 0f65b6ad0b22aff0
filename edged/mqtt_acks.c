#include "edged/mqtt_acks.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

void mqtt_acks_init(struct mqtt_acks *a)
{
	*a = (struct mqtt_acks){.next_seq = 1};
	a->slots = xcalloc(MQTT_IDS, sizeof(a->slots[0]));
}

void mqtt_acks_free(struct mqtt_acks *a)
{
	free(a->list);
	free(a->slots);
	*a = (struct mqtt_acks){0};
}

void mqtt_acks_clear(struct mqtt_acks *a)
{
	a->len = a->live = a->fresh = 0;
	memset(a->slots, 0, MQTT_IDS * sizeof(a->slots[0]));
}

/* Without those that are gone. */
static void compact(struct mqtt_acks *a)
{
	size_t n = 0;
	for (size_t i = 0; i < a->len; i++) {
		if (!a->list[i].seq)
			continue;
		a->list[n++] = a->list[i];
		a->slots[a->list[n - 1].id] = (uint32_t)n;
	}
	a->len = n;
}

static void make_room(struct mqtt_acks *a)
{
	if (a->len < a->cap)
		return;
	if (a->live < a->cap / 2) {
		compact(a);
		return;
	}
	a->cap = a->cap ? a->cap * 2 : 64; /* no more than twice the number of ids */
	a->list = xrealloc(a->list, a->cap * sizeof(a->list[0]));
}

static void drop(struct mqtt_acks *a, struct mqtt_ack *ack)
{
	a->live--;
	a->fresh -= !ack->old;
	a->slots[ack->id] = 0;
	ack->seq = 0;
}

static void append(struct mqtt_acks *a, uint16_t id, uint64_t hash, bool old)
{
	make_room(a);
	a->list[a->len] = (struct mqtt_ack){a->next_seq++, hash, id, old};
	a->slots[id] = (uint32_t)++a->len;
	a->live++;
	a->fresh += !old;
}

void mqtt_acks_session(struct mqtt_acks *a, bool session_present)
{
	if (!session_present)
		mqtt_acks_clear(a);
	for (size_t i = 0; i < a->len; i++)
		a->list[i].old = true;
	a->fresh = 0;
	a->resending = true;
}

/* What was not sent again had been acknowledged. */
static void end_resending(struct mqtt_acks *a)
{
	a->resending = false;
	for (size_t i = 0; i < a->len; i++)
		if (a->list[i].seq && a->list[i].old)
			drop(a, &a->list[i]);
	compact(a);
}

bool mqtt_acks_take(struct mqtt_acks *a, uint16_t id, uint64_t hash, enum mqtt_dup dup)
{
	struct mqtt_ack *ack = a->slots[id] ? &a->list[a->slots[id] - 1] : NULL;
	bool again = dup == MQTT_DUP_YES || (dup == MQTT_DUP_UNKNOWN && a->resending);
	bool known = ack && ack->hash == hash && again;
	if (ack)
		drop(a, ack);
	if (!known && a->resending)
		end_resending(a);
	append(a, id, hash, false);
	return known;
}

bool mqtt_acks_full(const struct mqtt_acks *a)
{
	return a->fresh >= MQTT_ACKS_MAX;
}

uint64_t mqtt_acks_barrier(const struct mqtt_acks *a)
{
	return a->next_seq;
}

void mqtt_acks_proven(struct mqtt_acks *a, uint64_t barrier)
{
	for (size_t i = 0; i < a->len && a->list[i].seq < barrier; i++)
		if (a->list[i].seq && !a->list[i].old)
			drop(a, &a->list[i]);
	compact(a);
}

/* ---- the checkpoint ---------------------------------------------------------------------------------------------- */

void mqtt_acks_put(const struct mqtt_acks *a, struct buf *out)
{
	buf_varint(out, a->live);
	for (size_t i = 0; i < a->len; i++) {
		if (!a->list[i].seq)
			continue;
		buf_u16(out, a->list[i].id);
		buf_u64(out, a->list[i].hash);
	}
}

void mqtt_acks_read(struct mqtt_acks *a, struct rd *r)
{
	size_t count = (size_t)rd_varint_max(r, MQTT_IDS - 1);
	for (size_t i = 0; i < count && !r->err; i++) {
		uint16_t id = rd_u16(r);
		uint64_t hash = rd_u64(r);
		if (!r->err && (!id || a->slots[id]))
			r->err = WEIR_ECORRUPT;
		if (!r->err)
			append(a, id, hash, true);
	}
	if (r->err)
		mqtt_acks_clear(a);
}

#include "cloudd/pending.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

void pending_free(struct pending *p)
{
	free(p->items);
	*p = (struct pending){0};
}

static void grow(struct pending *p)
{
	size_t cap = p->cap ? p->cap * 2 : 16;
	struct pending_item *items = xcalloc(cap, sizeof(*items));
	for (size_t i = 0; i < p->count; i++)
		items[i] = p->items[(p->head + i) % p->cap];
	free(p->items);
	p->items = items;
	p->cap = cap;
	p->head = 0;
}

struct pending_item *pending_push(struct pending *p, uint64_t index)
{
	if (p->count == p->cap)
		grow(p);
	weir_assert(!p->count || pending_at(p, p->count - 1)->index < index);
	struct pending_item *item = &p->items[(p->head + p->count) % p->cap];
	p->count++;
	*item = (struct pending_item){.index = index, .edge = ORIGIN_NO_EDGE};
	return item;
}

struct pending_item *pending_at(const struct pending *p, size_t i)
{
	return i < p->count ? &p->items[(p->head + i) % p->cap] : NULL;
}

struct pending_item *pending_first(const struct pending *p, uint64_t index)
{
	struct pending_item *item = pending_at(p, 0);
	return item && item->index <= index ? item : NULL;
}

void pending_pop(struct pending *p)
{
	weir_assert(p->count > 0);
	p->head = (p->head + 1) % p->cap;
	p->count--;
}

bool pending_wait(struct pending_item *item, const struct origin *o, struct origin *ret_dropped)
{
	bool room = item->waiter_count < PENDING_WAITERS_MAX;
	if (!room) {
		*ret_dropped = item->waiters[0];
		memmove(&item->waiters[0], &item->waiters[1], (PENDING_WAITERS_MAX - 1) * sizeof(*o));
		item->waiter_count--;
	}
	item->waiters[item->waiter_count++] = *o;
	return room;
}

#include "raft/outbox.h"

#include <stdlib.h>

#include "raft/base.h"

#define LETTERS_MIN 4
#define LETTERS_KEPT 8 /* room that an empty queue keeps: idle groups allocate nothing */

static void letters_free(struct raft_letters *l)
{
	free(l->at);
	*l = (struct raft_letters){0};
}

static void letters_grow(struct raft_letters *l)
{
	uint32_t capacity = l->capacity ? l->capacity * 2 : LETTERS_MIN;
	struct raft_letter *grown = raft_alloc(capacity, sizeof(*grown));
	for (uint32_t i = 0; i < l->count; i++)
		grown[i] = l->at[(l->head + i) % l->capacity];
	free(l->at);
	*l = (struct raft_letters){.at = grown, .capacity = capacity, .count = l->count};
}

static struct raft_letter letters_pop(struct raft_letters *l)
{
	struct raft_letter oldest = l->at[l->head];
	l->head = (l->head + 1) % l->capacity;
	l->count--;
	if (!l->count && l->capacity > LETTERS_KEPT)
		letters_free(l);
	return oldest;
}

static void letters_push(struct raft_letters *l, const struct raft_message *m, uint64_t index)
{
	if (l->count == RAFT_OUTBOX_MAX)
		(void)letters_pop(l);
	if (l->count == l->capacity)
		letters_grow(l);
	l->at[(l->head + l->count) % l->capacity] = (struct raft_letter){.message = *m, .index = index};
	l->count++;
}

void raft_outbox_free(struct raft_outbox *o)
{
	letters_free(&o->ready);
	letters_free(&o->waiting);
}

void raft_outbox_send(struct raft_outbox *o, const struct raft_message *m)
{
	letters_push(&o->ready, m, 0);
}

void raft_outbox_hold(struct raft_outbox *o, const struct raft_message *m, uint64_t index)
{
	letters_push(&o->waiting, m, index);
}

void raft_outbox_release(struct raft_outbox *o, uint64_t index)
{
	for (uint32_t left = o->waiting.count; left; left--) {
		struct raft_letter letter = letters_pop(&o->waiting);
		if (letter.index <= index)
			raft_outbox_send(o, &letter.message);
		else
			raft_outbox_hold(o, &letter.message, letter.index);
	}
}

void raft_outbox_drop_waiting(struct raft_outbox *o)
{
	letters_free(&o->waiting);
}

bool raft_outbox_pop(struct raft_outbox *o, struct raft_message *ret_message)
{
	if (!o->ready.count)
		return false;
	*ret_message = letters_pop(&o->ready).message;
	return true;
}

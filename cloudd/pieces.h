/* A batch that goes to a receiver in pieces, where a refusal is of a whole piece and does not say for which of its items: a refused piece
 * is sent again in halves, down to a single item, which is passed over when it is refused by itself; from there on pieces grow again
 * as they are taken. So all that a receiver would take by itself is delivered, in its order. Pure.
 *
 *     while (pieces_left(&p)) send items [p.at, p.at + n), 1 <= n <= pieces_left(&p); then pieces_taken() or pieces_refused() */
#ifndef WEIR_CLOUDD_PIECES_H
#define WEIR_CLOUDD_PIECES_H

#include <stdbool.h>
#include <stddef.h>

struct pieces {
	size_t at, count; /* items answered for, and in all */
	size_t max, most; /* of the next piece, and of any */
	size_t until;     /* above at: one of the items before this is to blame for a refusal */
};

static inline struct pieces pieces_of(size_t count, size_t most)
{
	return (struct pieces){0, count, most, most, 0};
}

/* Items of the next piece at most; 0: there is none. */
static inline size_t pieces_left(const struct pieces *p)
{
	size_t n = p->until > p->at ? (p->until - p->at + 1) / 2 : p->max;
	return p->count - p->at < n ? p->count - p->at : n;
}

static inline void pieces_taken(struct pieces *p, size_t n)
{
	p->at += n;
	p->max = 2 * n < p->most ? 2 * n : p->most;
}

/* True: it was a single item, which is passed over. */
static inline bool pieces_refused(struct pieces *p, size_t n)
{
	p->at += n == 1;
	p->until = n == 1 ? p->at : p->at + n;
	p->max = 1; /* the next one may be as bad */
	return n == 1;
}

#endif

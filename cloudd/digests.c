#include "cloudd/digests.h"

#include <stdlib.h>

#include "cloudd/apply.h"
#include "common/err.h"

struct digest_at {
	uint64_t index, value; /* index 0: none */
};

/* The latest DIGESTS_KEPT, by index. */
struct ring {
	struct digest_at at[DIGESTS_KEPT];
};

struct digests {
	uint32_t groups;
	struct ring *own;                /* by group */
	struct ring *heard[CLOUDS_MAX];  /* by node, then group; NULL: nothing heard */
};

struct digests *digests_new(uint32_t groups)
{
	struct digests *d = xcalloc(1, sizeof(*d));
	d->groups = groups;
	d->own = xcalloc(groups, sizeof(*d->own));
	return d;
}

void digests_free(struct digests *d)
{
	if (!d)
		return;
	for (uint32_t i = 0; i < CLOUDS_MAX; i++)
		free(d->heard[i]);
	free(d->own);
	free(d);
}

static const struct digest_at *find(const struct ring *r, uint64_t index)
{
	for (unsigned i = 0; i < DIGESTS_KEPT; i++) {
		if (r->at[i].index == index)
			return &r->at[i];
	}
	return NULL;
}

/* In the place of the same index, else of the lowest. */
static void put(struct ring *r, uint64_t index, uint64_t value)
{
	unsigned at = 0;
	for (unsigned i = 0; i < DIGESTS_KEPT; i++) {
		if (r->at[i].index == index) {
			r->at[i].value = value;
			return;
		}
		if (r->at[i].index < r->at[at].index)
			at = i;
	}
	if (index > r->at[at].index)
		r->at[at] = (struct digest_at){index, value};
}

void digests_note(struct digests *d, uint32_t group, uint64_t index, uint64_t value)
{
	weir_assert(group < d->groups);
	put(&d->own[group], index, value);
}

void digests_heard(struct digests *d, uint32_t node, const struct msg_digest *told)
{
	if (node >= CLOUDS_MAX || told->group >= d->groups || !told->index)
		return;
	if (!d->heard[node])
		d->heard[node] = xcalloc(d->groups, sizeof(struct ring));
	put(&d->heard[node][told->group], told->index, told->value);
}

void digests_forget(struct digests *d, uint32_t group)
{
	weir_assert(group < d->groups);
	d->own[group] = (struct ring){0};
}

static const struct digest_at *heard_at(const struct digests *d, uint32_t node, uint32_t group, uint64_t index)
{
	return d->heard[node] ? find(&d->heard[node][group], index) : NULL;
}

static uint32_t count_of(const struct digests *d, uint32_t group, const struct digest_at *what)
{
	uint32_t count = 0;
	for (uint32_t node = 0; node < CLOUDS_MAX; node++) {
		const struct digest_at *a = heard_at(d, node, group, what->index);
		count += a && a->value == what->value;
	}
	return count;
}

/* Of the highest entry for which both have one: an older one may be from before the other was mended. */
static bool differs(const struct digests *d, uint32_t group, uint32_t node, uint64_t *ret_index)
{
	const struct digest_at *mine = NULL, *theirs = NULL;
	for (unsigned i = 0; i < DIGESTS_KEPT; i++) {
		const struct digest_at *own = &d->own[group].at[i];
		const struct digest_at *a = own->index ? heard_at(d, node, group, own->index) : NULL;
		if (a && (!mine || own->index > mine->index)) {
			mine = own;
			theirs = a;
		}
	}
	if (!mine || mine->value == theirs->value)
		return false;
	*ret_index = mine->index;
	return true;
}

enum digests_verdict digests_look(const struct digests *d, uint32_t group, uint32_t replicas, uint64_t *ret_index,
    uint32_t *ret_node)
{
	enum digests_verdict verdict = DIGESTS_FINE;
	weir_assert(group < d->groups);
	for (uint32_t node = 0; node < CLOUDS_MAX && verdict != DIGESTS_DIVERGENT; node++) {
		uint64_t index;
		if (!d->heard[node] || !differs(d, group, node, &index))
			continue;
		bool most = count_of(d, group, heard_at(d, node, group, index)) > replicas / 2;
		verdict = most ? DIGESTS_DIVERGENT : DIGESTS_DIFFER;
		*ret_index = index;
		*ret_node = node;
	}
	return verdict;
}

static unsigned twos(uint64_t index)
{
	return (unsigned)__builtin_ctzll(index / APPLY_DIGEST_EVERY);
}

size_t digests_tell(const struct digests *d, struct msg_digest *out)
{
	size_t n = 0;
	for (uint32_t g = 0; g < d->groups; g++) {
		const struct digest_at *latest = NULL, *coarsest = NULL;
		for (unsigned i = 0; i < DIGESTS_KEPT; i++) {
			const struct digest_at *a = &d->own[g].at[i];
			if (!a->index)
				continue;
			if (!latest || a->index > latest->index)
				latest = a;
			if (!coarsest || twos(a->index) > twos(coarsest->index) ||
			    (twos(a->index) == twos(coarsest->index) && a->index > coarsest->index))
				coarsest = a;
		}
		if (latest)
			out[n++] = (struct msg_digest){g, latest->index, latest->value};
		if (coarsest && coarsest != latest)
			out[n++] = (struct msg_digest){g, coarsest->index, coarsest->value};
	}
	return n;
}

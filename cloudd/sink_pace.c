#include "cloudd/sink_pace.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

struct sink_pace_place {
	char sink[NAME_MAX_BYTES + 1], stream[NAME_MAX_BYTES + 1];
	uint32_t version;
	uint64_t index;
	uint32_t n;
};

void sink_pace_free(struct sink_pace *p)
{
	free(p->places);
	*p = (struct sink_pace){0};
}

static int compare_name(const char *a, struct bytes b)
{
	size_t n = strlen(a);
	int c = memcmp(a, b.p, n < b.n ? n : b.n);
	return c ? c : (n > b.n) - (n < b.n);
}

static int compare(const struct sink_pace_place *a, const struct entry_place *b)
{
	int c = compare_name(a->sink, b->sink);
	if (!c)
		c = compare_name(a->stream, b->stream);
	return c ? c : (a->version > b->version) - (a->version < b->version);
}

/* Where it is, or belongs. */
static size_t find(const struct sink_pace *p, const struct entry_place *place, bool *ret_found)
{
	size_t low = 0, high = p->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (compare(&p->places[mid], place) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_found = low < p->count && !compare(&p->places[low], place);
	return low;
}

static void copy_name(char out[NAME_MAX_BYTES + 1], struct bytes name)
{
	weir_assert(name.n <= NAME_MAX_BYTES);
	memcpy(out, name.p, name.n);
	out[name.n] = 0;
}

static void insert(struct sink_pace *p, size_t at, const struct entry_place *place)
{
	if (p->count == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 16;
		p->places = xrealloc(p->places, p->cap * sizeof(*p->places));
	}
	memmove(&p->places[at + 1], &p->places[at], (p->count - at) * sizeof(*p->places));
	p->count++;
	p->next += at <= p->next; /* it is before the one whose turn it is */
	struct sink_pace_place *to = &p->places[at];
	*to = (struct sink_pace_place){.version = place->version, .index = place->index, .n = place->n};
	copy_name(to->sink, place->sink);
	copy_name(to->stream, place->stream);
}

void sink_pace_add(struct sink_pace *p, const struct entry_place *place)
{
	bool found;
	size_t at = find(p, place, &found);
	if (!found && p->count < SINK_PACE_MAX)
		insert(p, at, place);
	if (!found)
		return;
	struct sink_pace_place *there = &p->places[at];
	if (there->index > place->index || (there->index == place->index && there->n >= place->n))
		return;
	there->index = place->index;
	there->n = place->n;
}

static size_t turn(const struct sink_pace *p)
{
	return p->count > ENTRY_PLACES_MAX && p->next < p->count ? p->next : 0;
}

uint32_t sink_pace_first(const struct sink_pace *p, struct entry_place *ret_places)
{
	size_t at = turn(p), left = p->count - at;
	uint32_t count = left < ENTRY_PLACES_MAX ? (uint32_t)left : ENTRY_PLACES_MAX;
	for (uint32_t i = 0; i < count; i++) {
		const struct sink_pace_place *from = &p->places[at + i];
		ret_places[i] = (struct entry_place){bytes_of(from->sink, strlen(from->sink)),
		    bytes_of(from->stream, strlen(from->stream)), from->version, from->index, from->n};
	}
	return count;
}

void sink_pace_taken(struct sink_pace *p, uint32_t count)
{
	size_t at = turn(p);
	weir_assert(count <= p->count - at);
	p->count -= count;
	memmove(p->places + at, p->places + at + count, (p->count - at) * sizeof(*p->places));
	p->next = at;
}

#include "cloudd/pace.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/err.h"

#define NEVER (INT64_MIN / 2)

struct pace {
	int64_t given_ns[PACE_SLOTS];
	int64_t room; /* bytes that all may have now, as of: */
	int64_t room_ns;
};

struct pace *pace_new(void)
{
	struct pace *p = xcalloc(1, sizeof(*p));
	for (size_t i = 0; i < PACE_SLOTS; i++)
		p->given_ns[i] = NEVER;
	p->room = PACE_BYTES_PER_S;
	return p;
}

void pace_free(struct pace *p)
{
	free(p);
}

static size_t slot_of(const char *who, uint64_t version)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	for (; *who; who++)
		h = (h ^ (unsigned char)*who) * UINT64_C(1099511628211);
	h = (h ^ version) * UINT64_C(1099511628211);
	return (size_t)(h % PACE_SLOTS);
}

static void refill(struct pace *p, int64_t mono_ns)
{
	int64_t ms = (mono_ns - p->room_ns) / NS_PER_MS;
	if (ms <= 0)
		return;
	p->room_ns += ms * NS_PER_MS;
	p->room += (ms < 1000 ? ms : 1000) * (PACE_BYTES_PER_S / 1000);
	if (p->room > PACE_BYTES_PER_S)
		p->room = PACE_BYTES_PER_S;
}

bool pace_may(struct pace *p, const char *who, uint64_t version, size_t bytes, int64_t mono_ns)
{
	int64_t *given_ns = &p->given_ns[slot_of(who, version)];
	refill(p, mono_ns);
	if (mono_ns - *given_ns < PACE_EVERY_MS * NS_PER_MS || (bytes && p->room <= 0))
		return false;
	*given_ns = mono_ns;
	p->room -= (int64_t)bytes;
	return true;
}

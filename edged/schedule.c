#include "edged/schedule.h"

#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/err.h"

int64_t schedule_offset_ns(int64_t every_ns, const char *a, const char *b, const char *c)
{
	const char *const texts[] = {a ? a : "", b ? b : "", c ? c : ""};
	uint64_t hash = 0;
	for (int i = 0; i < 3; i++)
		hash = XXH3_64bits_withSeed(texts[i], strlen(texts[i]), hash);
	return (int64_t)(hash % (uint64_t)every_ns);
}

void schedule_init(struct schedule *s, int64_t every_ns, int64_t offset_ns, int64_t wall_ns, int64_t mono_ns)
{
	weir_assert(every_ns > 0);
	int64_t next = time_floor(wall_ns, every_ns, offset_ns) + every_ns;
	*s = (struct schedule){.every_ns = every_ns, .due_ns = mono_ns + (next - wall_ns)};
}

bool schedule_due(struct schedule *s, int64_t mono_ns, uint64_t *ret_missed)
{
	if (mono_ns < s->due_ns)
		return false;
	int64_t missed = (mono_ns - s->due_ns) / s->every_ns;
	s->due_ns += (missed + 1) * s->every_ns;
	*ret_missed = (uint64_t)missed;
	return true;
}

uint64_t schedule_wait_ms(const struct schedule *s, int64_t mono_ns)
{
	int64_t wait = s->due_ns - mono_ns;
	return wait <= 0 ? 1 : (uint64_t)((wait - 1) / NS_PER_MS + 1);
}

#include "cloudd/health.h"

static bool hangs(int64_t busy_ns, int64_t now_ns)
{
	return busy_ns && now_ns - busy_ns > HEALTH_JOB_MAX_NS;
}

bool health_is_alive(const struct health *h, uint64_t ticks_before, int64_t now_ns)
{
	return h->ticks != ticks_before && !hangs(h->log_busy_ns, now_ns) && !hangs(h->state_busy_ns, now_ns);
}

bool health_hangs(int64_t alive_ns, int64_t now_ns)
{
	return now_ns - alive_ns >= HEALTH_HANGS_NS;
}

void health_text(const struct group_status *groups, uint32_t count, const char *why, struct buf *out)
{
	unsigned held = 0, led = 0;
	for (uint32_t g = 0; g < count; g++) {
		held += groups[g].held;
		led += groups[g].held && groups[g].serving;
	}
	if (why)
		buf_printf(out, "waits: %s; ", why);
	else
		buf_printf(out, "ready; ");
	buf_printf(out, "leads %u of %u groups", led, held);
}

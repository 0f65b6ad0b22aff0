#include "edged/health.h"

bool health_is_alive(int64_t ticked_ns, int64_t now_ns, int64_t tick_ns)
{
	return now_ns - ticked_ns < HEALTH_TICKS_MISSED_MAX * tick_ns + HEALTH_GRACE_NS;
}

void health_text(const struct health *h, struct buf *out)
{
	const char *state = h->removed ? "not in the cluster's topology: reads nothing"
		: h->fenced            ? "fenced: sends nothing"
		: h->paused            ? "no room in the spool: sources wait"
				       : "measuring";
	buf_printf(out, "%s; ", state);
	if (h->closed)
		buf_printf(out, "%zu of its sources cannot be opened; ", h->closed);
	buf_printf(out, "spool ");
	buf_put_size(out, (double)h->spool_bytes);
	if (h->cloud)
		buf_printf(out, "; %s %s", h->cloud, h->answered ? "answers" : "does not answer yet");
	else
		buf_printf(out, "; no cloud yet");
}

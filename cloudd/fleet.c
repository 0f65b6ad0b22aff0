#include "cloudd/fleet.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/stats.h"

static const struct stats_family edges = {"weir_cloud_edges", "edges by state, as the leader of the meta group judges them", STATS_GAUGE,
    {"state"}};
static const struct stats_family ailing = {"weir_cloud_edge_ailing", "1: something is wrong with this edge, as the leader of the meta group sees it",
    STATS_GAUGE, {"edge", "what"}};
static const struct stats_family spool = {"weir_cloud_edges_spool_bytes", "what all edges said last that their spools hold", STATS_GAUGE, {NULL}};
static const struct stats_family closed = {"weir_cloud_stream_close_seconds",
    "event time up to which the stream's windows have closed, seconds since the epoch", STATS_GAUGE, {"stream"}};

void fleet_add_ailing(struct fleet *f, const char *edge, const char *what)
{
	if (f->ailing_count == FLEET_AILING_MAX)
		return;
	struct fleet_ailing *to = &f->ailing[f->ailing_count++];
	snprintf(to->edge, sizeof(to->edge), "%s", edge);
	to->what = what;
}

static void put_states(const struct fleet *f, struct buf *out)
{
	for (unsigned s = 0; s <= EDGE_PARTITIONED; s++)
		stats_write_u64(out, &edges, (const char *const[]){edge_state_text((enum edge_state)s)}, f->of_state[s]);
	stats_write_u64(out, &edges, (const char *const[]){"revoked"}, f->revoked);
}

void fleet_put_metrics(const struct fleet *f, struct buf *out)
{
	stats_write_head(out, &edges);
	if (f->known)
		put_states(f, out);
	stats_write_head(out, &ailing);
	for (size_t i = 0; i < f->ailing_count; i++)
		stats_write_u64(out, &ailing, (const char *const[]){f->ailing[i].edge, f->ailing[i].what}, 1);
	stats_write_head(out, &spool);
	if (f->known)
		stats_write_u64(out, &spool, NULL, f->spool_bytes);
	stats_write_head(out, &closed);
	for (size_t i = 0; i < f->stream_count; i++)
		stats_write(out, &closed, (const char *const[]){f->streams[i].name}, (double)f->streams[i].close_ns / NS_PER_SEC);
}

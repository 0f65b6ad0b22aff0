/* The network: what ZeroMQ's DEALER and ROUTER give the product, made worse by chance.
 *
 * A connection is a dealer's to one router; its id is the route by which the router answers. It ends with either
 * process, and a dealer comes back under a new one. Frames may be late, lost, doubled and (unless fifo) out of order. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "tests/sim/sim_world.h"

struct flight {
	uint32_t from, to;
	uint64_t conn;
	bool to_router;
	size_t len;
	uint8_t frame[];
};

static uint64_t life_of(const struct sim_world *w, uint32_t pid)
{
	return pid < w->cloud_count ? w->clouds[pid].life : w->edges[pid - w->cloud_count].life;
}

bool sim_net_up(const struct sim_world *w, uint32_t pid, uint64_t *ret_life)
{
	*ret_life = life_of(w, pid);
	return pid < w->cloud_count ? w->clouds[pid].up : w->edges[pid - w->cloud_count].up;
}

uint64_t sim_net_connect(struct sim_world *w, uint32_t dealer, uint32_t router)
{
	if (w->conn_count == w->conn_cap) {
		w->conn_cap = w->conn_cap ? 2 * w->conn_cap : 64;
		w->conns = xrealloc(w->conns, w->conn_cap * sizeof(*w->conns));
	}
	uint64_t id = w->conn_count + 1;
	w->conns[w->conn_count++] = (struct sim_conn){id, dealer, router, life_of(w, dealer), life_of(w, router)};
	return id;
}

static struct sim_conn *conn_get(struct sim_world *w, uint64_t id)
{
	return id && id <= w->conn_count ? &w->conns[id - 1] : NULL;
}

static bool conn_live(struct sim_world *w, const struct sim_conn *c)
{
	uint64_t life;
	return sim_net_up(w, c->dealer, &life) && life == c->dealer_life && sim_net_up(w, c->router, &life) &&
	    life == c->router_life;
}

static int64_t delay(struct sim_world *w)
{
	const struct sim_net_conf *n = &w->plan->net;
	if (!w->no_faults && sim_chance(&w->net_rand, n->slow))
		return sim_range(&w->net_rand, 0, n->slow_max_ns);
	return sim_range(&w->net_rand, n->delay_min_ns, n->delay_max_ns);
}

static void fly(struct sim_world *w, uint32_t from, uint32_t to, const struct sim_conn *c, bool to_router,
    const void *frame, size_t len)
{
	struct flight *f = xmalloc(sizeof(*f) + len);
	*f = (struct flight){.from = from, .to = to, .conn = c->id, .to_router = to_router, .len = len};
	memcpy(f->frame, frame, len);
	int64_t at = w->now_ns + delay(w);
	if (w->plan->net.fifo && at < w->last_arrival_ns[from][to])
		at = w->last_arrival_ns[from][to];
	w->last_arrival_ns[from][to] = at;
	w->under_way[from][to]++;
	sim_queue_put(&w->queue, (struct sim_event){.at_ns = at, .type = SIM_FRAME, .who = to, .ptr = f});
}

static bool pass(struct sim_world *w, uint32_t from, uint32_t to, const struct sim_conn *c, bool to_router,
    const void *frame, size_t len)
{
	if (len > FRAME_MAX)
		sim_fail(w, "process %u sends a frame of %zu bytes", from, len);
	if (w->under_way[from][to] >= SIM_LINK_FRAMES_MAX)
		return false;
	w->frames++;
	if (w->blocked[from][to] || (!w->no_faults && sim_chance(&w->net_rand, w->plan->net.drop))) {
		w->frames_lost++;
		return true; /* as a kernel's buffer would */
	}
	fly(w, from, to, c, to_router, frame, len);
	if (!w->no_faults && sim_chance(&w->net_rand, w->plan->net.duplicate))
		fly(w, from, to, c, to_router, frame, len);
	return true;
}

bool sim_net_to_router(struct sim_world *w, uint64_t *conn, const void *frame, size_t len)
{
	struct sim_conn *c = conn_get(w, *conn);
	if (!c)
		return false;
	uint64_t life;
	if (!sim_net_up(w, c->router, &life)) {
		w->frames_lost++;
		return sim_chance(&w->net_rand, 0.3); /* some fall into a buffer that nobody reads */
	}
	if (life != c->router_life) {
		*conn = sim_net_connect(w, c->dealer, c->router);
		c = conn_get(w, *conn);
	}
	return pass(w, c->dealer, c->router, c, true, frame, len);
}

bool sim_net_to_dealer(struct sim_world *w, uint32_t router, struct bytes route, const void *frame, size_t len)
{
	uint64_t id = 0;
	if (route.n == sizeof(id))
		memcpy(&id, route.p, sizeof(id));
	struct sim_conn *c = conn_get(w, id);
	if (!c || c->router != router) {
		sim_fail(w, "cloud %u answers a route that never was", router);
		return false;
	}
	return conn_live(w, c) && pass(w, router, c->dealer, c, false, frame, len);
}

static void deliver_to_dealer(struct sim_world *w, const struct sim_conn *c, const struct flight *f)
{
	if (c->dealer < w->cloud_count) {
		sim_cloud_frame(&w->clouds[c->dealer], f->conn, f->from, true, f->frame, f->len);
		return;
	}
	struct sim_edge *e = &w->edges[c->dealer - w->cloud_count];
	if (e->conn == f->conn)
		sim_edge_frame(e, f->frame, f->len);
}

void sim_net_forge(struct sim_world *w, uint32_t from, uint32_t to, const void *frame, size_t len)
{
	uint64_t conn = sim_net_connect(w, from, to);
	pass(w, from, to, conn_get(w, conn), true, frame, len);
}

/* What a process sent just before its end may still arrive. */
static bool arrives(struct sim_world *w, const struct sim_conn *c, const struct flight *f)
{
	uint64_t life, wanted = f->to_router ? c->router_life : c->dealer_life;
	if (w->blocked[f->from][f->to] || !sim_net_up(w, f->to, &life) || life != wanted)
		return false;
	return conn_live(w, c) || sim_chance(&w->net_rand, 0.5);
}

void sim_net_deliver(struct sim_world *w, void *frame)
{
	struct flight *f = frame;
	w->under_way[f->from][f->to]--;
	struct sim_conn *c = conn_get(w, f->conn);
	sim_hash(w, sim_hash_bytes(f->frame, f->len) ^ f->conn);
	if (!arrives(w, c, f))
		w->frames_lost++;
	else if (f->to_router)
		sim_cloud_frame(&w->clouds[f->to], f->conn, f->from, false, f->frame, f->len);
	else
		deliver_to_dealer(w, c, f);
	free(f);
}

void sim_net_free_frame(void *frame)
{
	free(frame);
}

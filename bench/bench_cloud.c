/* A load generator for the clouds: edges (the real edged/uplink, one connection each) that send batches made
 * beforehand.
 *
 *     bench_cloud -f TOPOLOGY -a FIRST_EDGE -e EDGES -s SHARDS -n WINDOW -b BYTES -t SECONDS [-w WARMUP] [-r
 * RATE] -p POOL [-1]
 *
 * A lane is the way of one edge to one shard; there are EDGES x SHARDS lanes, each with at most WINDOW
 * batches not acknowledged. Partials are like those of 1,000 readings with a quantile sketch. A batch holds
 * BYTES of them before compression, or, with -1, as many as give BYTES after it. Each (group, slice) is sent
 * once. The edges must be new to the clouds. POOL batches are made for each lane; when one runs out of them
 * the run ends. Prints one JSON object (load.h): per_s counts partials, requests are batches. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/batch.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/msgq.h"
#include "common/topology.h"
#include "edged/uplink.h"

#define LANES_MAX 4096
#define WINDOW_MAX 1024
#define POOL_MAX 1000000
#define GROUPS_PER_LANE 400
#define TEMPLATES 1009 /* none comes twice in a batch, where it would compress */
#define READINGS 1000
#define SPREAD 0.32 /* of the readings' logarithm: gives a sketch its size */
#define START_NS (INT64_C(1700000000) * NS_PER_SEC)
#define READY_MAX_S 60.0
#define TICK_MS 100
#define PACE_MS 1

struct prepared {
	struct bytes body; /* freed once acknowledged */
	uint32_t partials;
	double due_s;
};

struct lane {
	struct sender *sender;
	uint32_t shard;
	uint64_t allowed, acked;
	struct prepared *pool; /* by seq - 1 */
};

struct sender {
	uint32_t edge;
	struct uplink *uplink;
	struct msgq_socket *socket;
	struct lane *lanes; /* of the first `shards` shards */
};

static struct load load;
static struct topology *topology;
static struct loop *loop;
static struct msgq *msgq;
static struct sender *senders;
static struct lane *lanes;
static uint32_t first_edge, sender_count = 1, shards = 1;
static size_t lane_count, window = 1, batch_bytes = 65536, pool = 100;
static bool after_compression, started;
static double begun_s;
static uint64_t made_bytes, made_raw, made_partials, made;

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_cloud: %s: %s\n", what, why);
	exit(2);
}

/* ---- what is sent
 * --------------------------------------------------------------------------------------------- */

static struct partial_spec spec;
static struct partial templates[TEMPLATES];
static uint64_t random_state = 1;

static double random_unit(void) /* splitmix64 */
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static double random_normal(void)
{
	return sqrt(-2 * log(1 - random_unit())) * cos(2 * M_PI * random_unit());
}

static void make_templates(const struct stream_conf *s)
{
	partial_spec_of(s, 0, PARTIAL_QUANTILE_CAP_EDGE, &spec);
	for (size_t i = 0; i < TEMPLATES; i++) {
		double level = 40 + 80 * random_unit();
		int64_t step_ns = s->slice_ns / READINGS;
		for (int64_t k = 0; k < READINGS; k++) /* sensors give one decimal, times in milliseconds */
			partial_add(&templates[i], &spec, k * step_ns / NS_PER_MS * NS_PER_MS,
			    round(level * exp(SPREAD * random_normal()) * 10) / 10);
	}
}

/* A group of this edge that lives on this shard; *next is where to go on looking. */
static size_t make_group(
    const struct stream_conf *s, const char *edge, uint32_t shard, unsigned *next, uint8_t out[128])
{
	for (;; ++*next) {
		char machine[32];
		size_t n = (size_t)snprintf(machine, sizeof(machine), "machine-%07u", *next),
		       e = strlen(edge);
		out[0] = (uint8_t)n;
		memcpy(out + 1, machine, n);
		out[1 + n] = (uint8_t)e;
		memcpy(out + 2 + n, edge, e);
		if (stream_shard(topology, s->name, bytes_of(out, 2 + n + e)) == shard) {
			++*next;
			return 2 + n + e;
		}
	}
}

/* The next batches of a lane's groups, slice after slice. */
static void make_pool(struct lane *l)
{
	const struct stream_conf *s = &topology->streams[0];
	static uint8_t groups[GROUPS_PER_LANE][128];
	static size_t lens[GROUPS_PER_LANE];
	unsigned next = 0;
	for (size_t i = 0; i < GROUPS_PER_LANE; i++)
		lens[i] = make_group(s, topology->edges[l->sender->edge].name, l->shard, &next, groups[i]);
	struct batch_writer *w = batch_writer_new(l->shard);
	struct buf body = {0};
	size_t at = (size_t)(random_unit() * 1e6);
	uint64_t slice = 0, bytes_before = 0;
	l->pool = xcalloc(pool, sizeof(l->pool[0]));
	for (size_t k = 0; k < pool; k++) {
		/* Compression is known from the batches before; until then: that it halves. */
		double factor = !after_compression ? 1
				: bytes_before	   ? (double)made_raw / (double)made_bytes
						   : 2;
		size_t target = (size_t)((double)batch_bytes * factor);
		while (batch_writer_bytes(w) < target) {
			size_t group = at % GROUPS_PER_LANE;
			struct partial p = templates[at % TEMPLATES];
			p.first_ns += START_NS + (int64_t)slice * s->slice_ns;
			p.last_ns += START_NS + (int64_t)slice * s->slice_ns;
			if (batch_writer_add(w, s, &spec, START_NS + (int64_t)slice * s->slice_ns,
				bytes_of(groups[group], lens[group]), &p))
				break; /* it has its size */
			if (++at % GROUPS_PER_LANE == 0)
				slice++;
		}
		l->pool[k].partials = (uint32_t)batch_writer_count(w);
		made_raw += batch_writer_bytes(w);
		made_partials += batch_writer_count(w);
		buf_clear(&body);
		batch_writer_finish(w, k + 1, &body);
		uint8_t *kept = xmalloc(body.len);
		memcpy(kept, body.data, body.len);
		l->pool[k].body = bytes_of(kept, body.len);
		made_bytes += body.len;
		bytes_before += body.len;
		made++;
	}
	batch_writer_free(w);
	buf_free(&body);
}

/* ---- what the uplinks ask for
 * --------------------------------------------------------------------------------- */

static struct lane *lane_of(struct sender *s, uint32_t shard)
{
	return shard < shards ? &s->lanes[shard] : NULL;
}

static bool io_send(void *arg, const void *frame, size_t len)
{
	struct sender *s = arg;
	return s->socket && !msgq_send(s->socket, frame, len);
}

static void on_frame(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	(void)route;
	(void)who;
	struct sender *s = arg;
	const char *why;
	uplink_frame(s->uplink, frame, len, clock_wall_ns(), clock_mono_ns());
	if (uplink_fenced(s->uplink, &why))
		die(topology->edges[s->edge].name, why);
}

static void io_connect(void *arg, uint32_t cloud)
{
	struct sender *s = arg;
	char *why = NULL;
	if (s->socket)
		msgq_close(s->socket);
	if (msgq_connect(msgq, topology->clouds[cloud].listen, topology->clouds[cloud].name, on_frame, s, &s->socket, &why))
		die(topology->clouds[cloud].listen, why);
}

static void io_view(void *arg, uint32_t shard, struct uplink_view *ret_view)
{
	const struct lane *l = lane_of(arg, shard);
	*ret_view = (struct uplink_view){.low = 1};
	if (l)
		*ret_view = (struct uplink_view){.low = l->acked + 1,
		    .high = l->allowed,
		    .ready = l->allowed,
		    .sent = l->allowed,
		    .acked = l->acked};
}

static size_t io_bytes(void *arg, uint32_t shard, uint64_t seq)
{
	return lane_of(arg, shard)->pool[seq - 1].body.n;
}

static bool io_damaged(void *arg, uint32_t shard, uint64_t seq)
{
	(void)arg, (void)shard, (void)seq;
	return false;
}

static int io_body(void *arg, uint32_t shard, uint64_t seq, struct buf *out)
{
	struct bytes b = lane_of(arg, shard)->pool[seq - 1].body;
	buf_put(out, b.p, b.n);
	return 0;
}

/* Whether the lane was allowed one more batch. */
static bool lane_allow(struct lane *l, double now_s)
{
	double due_s;
	if (l->allowed == pool) {
		load_stop(&load, now_s);
		return false;
	}
	if (l->allowed - l->acked >= window || !load_take(&load, now_s, &due_s))
		return false;
	l->pool[l->allowed++].due_s = due_s;
	return true;
}

static void io_acked(void *arg, uint32_t shard, uint64_t seq)
{
	struct lane *l = lane_of(arg, shard);
	double now_s = load_now_s();
	while (l->acked < seq) {
		struct prepared *p = &l->pool[l->acked++];
		if (started && l->acked > 1) /* the first one only opened the lane */
			load_done(&load, p->due_s, now_s, p->partials);
		free((void *)(uintptr_t)p->body.p);
		p->body.p = NULL;
	}
	if (started && load.rate <= 0) /* what is allowed here leaves with this very frame's turn */
		while (lane_allow(l, now_s))
			;
}

static void io_granted(void *arg, const struct uplink_grant *grant)
{
	struct sender *s = arg;
	uplink_grant_stored(s->uplink, grant, clock_mono_ns());
}

static void io_opened_resume(void *arg, uint32_t shard, uint64_t last)
{
	(void)shard, (void)last;
	die(topology->edges[((struct sender *)arg)->edge].name, "is not new to the clouds");
}

static void io_report(void *arg, struct msg *m)
{
	(void)arg, (void)m; /* of no stream: windows stay open */
}

/* ---- the run
 * -------------------------------------------------------------------------------------------------- */

static void tick_all(void)
{
	for (uint32_t i = 0; i < sender_count; i++)
		uplink_tick(senders[i].uplink, clock_wall_ns(), clock_mono_ns());
}

/* Every lane has its first batch acknowledged: connections, grants and OPENs are done. */
static void start_when_ready(void)
{
	for (size_t i = 0; i < lane_count; i++)
		if (lanes[i].acked < 1) {
			if (load_now_s() - begun_s > READY_MAX_S)
				die(topology->edges[lanes[i].sender->edge].name,
				    "the clouds did not take its first batch");
			return;
		}
	started = true;
	load_start(&load);
	double now_s = load_now_s();
	if (load.rate <= 0)
		for (size_t i = 0; i < lane_count; i++)
			while (lane_allow(&lanes[i], now_s))
				;
	tick_all();
}

static void on_tick(void *arg)
{
	(void)arg;
	tick_all();
	if (!started)
		start_when_ready();
	else if (!load_goes_on(&load, load_now_s()))
		loop_stop(loop);
}

/* With a rate: what has become due goes to the lanes in turn. */
static void on_pace(void *arg)
{
	(void)arg;
	static size_t next;
	double now_s = load_now_s();
	bool any = false;
	if (!started || load.rate <= 0)
		return;
	for (size_t tried = 0; tried < lane_count;) {
		if (lane_allow(&lanes[next], now_s)) {
			any = true;
			tried = 0;
		} else {
			tried++;
		}
		next = (next + 1) % lane_count;
	}
	if (any)
		tick_all();
}

/* It goes by its file to the end. */
static void io_map(void *arg, struct bytes map)
{
	(void)arg;
	(void)map;
}

static void make_senders(void)
{
	static const struct uplink_io io = {NULL, io_send, io_connect, io_view, io_bytes, io_damaged, io_body,
	    io_acked, io_granted, io_opened_resume, io_report, io_map};
	lane_count = (size_t)sender_count * shards;
	senders = xcalloc(sender_count, sizeof(senders[0]));
	lanes = xcalloc(lane_count, sizeof(lanes[0]));
	for (uint32_t i = 0; i < sender_count; i++) {
		struct sender *s = &senders[i];
		struct uplink_io own = io;
		uint8_t claim[CLAIM_BYTES];
		uint64_t wall = (uint64_t)clock_wall_ns();
		own.arg = s;
		s->edge = first_edge + i;
		s->lanes = &lanes[(size_t)i * shards];
		memset(claim, (int)i + 1, sizeof(claim));
		memcpy(claim, &wall, sizeof(wall));
		for (uint32_t shard = 0; shard < shards; shard++) {
			s->lanes[shard] = (struct lane){.sender = s, .shard = shard, .allowed = 1};
			make_pool(&s->lanes[shard]);
		}
		s->uplink = uplink_new(
		    topology, s->edge, &own, wall, 0, (struct bytes){0}, claim, NULL, true, clock_mono_ns());
		uplink_claim_stored(s->uplink);
	}
}

static void load_topology(const char *path)
{
	struct buf errors = {0};
	if (topology_load(path, &topology, &errors))
		die("topology", buf_cstr(&errors));
	if (!topology->stream_count || topology->streams[0].by_count != 2)
		die(path, "its first stream must have two tags in `by`");
	if (shards > topology->shards || first_edge + sender_count > topology->edge_count)
		die(path, "has not that many shards or edges");
	if ((size_t)shards * sender_count > LANES_MAX)
		die("use", "too many lanes");
}

static const char *options(int argc, char **argv)
{
	const char *path = NULL;
	load.seconds = 5;
	load.warmup_s = 1;
	for (int o; (o = getopt(argc, argv, "f:a:e:s:n:b:t:w:r:p:1")) != -1;) {
		if (o == 'f')
			path = optarg;
		else if (o == 'a')
			first_edge = (uint32_t)load_number("-a", optarg, 0, EDGES_MAX);
		else if (o == 'e')
			sender_count = (uint32_t)load_number("-e", optarg, 1, MSGQ_SOCKETS_MAX / 2);
		else if (o == 's')
			shards = (uint32_t)load_number("-s", optarg, 1, SHARDS_MAX);
		else if (o == 'n')
			window = (size_t)load_number("-n", optarg, 1, WINDOW_MAX);
		else if (o == 'b')
			batch_bytes = (size_t)load_number("-b", optarg, 100, BATCH_BODY_MAX);
		else if (o == 't')
			load.seconds = load_number("-t", optarg, 0.1, 600);
		else if (o == 'w')
			load.warmup_s = load_number("-w", optarg, 0, 600);
		else if (o == 'r')
			load.rate = load_number("-r", optarg, 0, 1e7);
		else if (o == 'p')
			pool = (size_t)load_number("-p", optarg, 2, POOL_MAX);
		else if (o == '1')
			after_compression = true;
		else
			exit(2);
	}
	if (!path)
		die("use", "bench_cloud -f TOPOLOGY -a FIRST_EDGE -e EDGES -s SHARDS -n WINDOW -b BYTES -t "
			   "SECONDS -p POOL");
	return path;
}

int main(int argc, char **argv)
{
	load_topology(options(argc, argv));
	make_templates(&topology->streams[0]);
	if (loop_new(&loop) || msgq_new(loop, &(struct msgq_options){0}, &msgq))
		die("loop", "out of descriptors");
	make_senders();
	begun_s = load_now_s();
	loop_timer_start(loop_timer_new(loop, on_tick, NULL), 1, TICK_MS);
	loop_timer_start(loop_timer_new(loop, on_pace, NULL), PACE_MS, PACE_MS);
	loop_run(loop);
	uint64_t resent = 0;
	for (uint32_t i = 0; i < sender_count; i++)
		resent += uplink_stats(senders[i].uplink)->batches_resent;
	printf("{\"resent\": %" PRIu64
	       ", \"partial_bytes\": %.1f, \"body_bytes\": %.1f, \"batch_partials\": %.1f}\n",
	    resent, (double)made_raw / (double)made_partials, (double)made_bytes / (double)made,
	    (double)made_partials / (double)made);
	int code = load_print(&load);
	for (uint32_t i = 0; i < sender_count; i++)
		uplink_free(senders[i].uplink);
	msgq_free(msgq);
	loop_free(loop);
	topology_free(topology);
	return code;
}

/* Reads of a replicated shard: three nodes that serve from their own states, with scripted leaders, lags and losses. What a node
 * thinks of leaders, and the way between nodes, are this file's; serve, ask, gather, progress and the states are real. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/ask.h"
#include "cloudd/gather.h"
#include "cloudd/metrics.h"
#include "cloudd/serve_alerts.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/map.h"
#include "common/topology.h"
#include "tests/unit/cloudd/kit.h"

#define NODES 3
#define GROUP 1 /* of shard 0 */
#define TOLD_MAX 64

static const char streams[] = "  - {name: s, from: {measurement: m, field: f}, by: [a], window: 1m, lateness: 0s, compute: [count],\n"
			      "     retain: forever}\n";

static struct topology *t;

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

struct node {
	uint32_t self;
	struct kit kit;
	unsigned applied_step;  /* steps of the script in its state */
	struct progress *progress;
	struct serve *serve;
	struct stats *stats;
	/* what it thinks */
	int leader;
	int64_t unled_ns;
	bool cut_off;
	bool serves;
	bool deposed; /* and does not know: a majority does not confirm it */
	uint64_t term;
	uint64_t heard_ns;
	/* how others reach it */
	bool dead;
	bool foreign;
	bool of_before; /* a version that was never asked about sinks */
	unsigned asked; /* requests that came to it */
};

static struct node nodes[NODES];
static struct kit reference;      /* applies at once what is committed */
static unsigned committed_step;
static uint64_t untold; /* 1: the last step's only entry is committed, and the leader has not told of it */
static struct buf edges_json;
static unsigned edges_leads_in; /* questions */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all this */

static unsigned late_step = UINT32_MAX; /* brings a reading of the first window, whose row was told */

static unsigned map_step = UINT32_MAX; /* brings a cluster map instead */
#define MAP_VERSION 5

static void apply_map(struct kit *k)
{
	struct cluster_map m;
	struct buf bytes = {0};
	map_first(k->t, k->t->text, k->t->text_len, &m);
	m.version = MAP_VERSION;
	ck_assert_int_eq(map_encode(&m, &bytes), 0);
	struct entry e = {.kind = ENTRY_MAP, .map = {k->meta_index + 1, k->meta_index, bytes_of(bytes.data, bytes.len)}};
	ck_assert_int_eq(kit_verdict(k, GROUP, &e), VERDICT_OK);
	k->meta_index++;
	map_clear(&m);
	buf_free(&bytes);
}

/* A reading in minute `step`, or what closes that window. */
static void apply_step(struct kit *k, unsigned step)
{
	if (step == map_step) {
		apply_map(k);
		return;
	}
	if (step % 2) {
		struct apply_result r = kit_advance(k, "s", (int64_t)step * 60 * SEC, (int64_t)step * 60 * SEC, NULL, 0);
		apply_result_clear(&r);
		kit_sweep_all(k);
		return;
	}
	struct kit_batch b = kit_batch(k);
	kit_add(&b, "s", kit_group(1, "x"), (step == late_step ? 0 : (int64_t)step * 60 * SEC) + 1, 1);
	struct apply_result r = kit_send(k, &b);
	apply_result_clear(&r);
}

static void commit_steps(unsigned n)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < n; i++)
		apply_step(&reference, committed_step++);
	pthread_mutex_unlock(&lock);
}

/* With the lock. */
static void follow_to(struct node *n, unsigned step)
{
	while (n->applied_step < step)
		apply_step(&n->kit, n->applied_step++);
	kit_commit(&n->kit);
	progress_set_durable(n->progress, GROUP, n->kit.index[GROUP]);
}

static void follow(struct node *n, unsigned step)
{
	pthread_mutex_lock(&lock);
	follow_to(n, step);
	pthread_mutex_unlock(&lock);
}

/* The loop and the state writer of a node: a reader waits. */
static void on_reader(void *arg)
{
	struct node *n = arg;
	uint64_t ticket;
	pthread_mutex_lock(&lock);
	bool begun = progress_read_begin(n->progress, GROUP, &ticket);
	bool serves = n->serves && !n->deposed;
	uint64_t index = reference.index[GROUP] - untold;
	pthread_mutex_unlock(&lock);
	if (begun)
		progress_read_done(n->progress, GROUP, ticket, serves, index);
	pthread_mutex_lock(&lock);
	if (progress_wanted(n->progress, GROUP, index))
		follow_to(n, committed_step - (untold ? 1 : 0));
	else if (progress_wanted(n->progress, GROUP, reference.index[GROUP]))
		follow_to(n, committed_step);
	pthread_mutex_unlock(&lock);
}

static const struct topology *behind; /* what node 1 goes by for so many looks */
static unsigned behind_for;

const struct topology *node_topology(struct node *n)
{
	pthread_mutex_lock(&lock);
	bool is_behind = n == &nodes[1] && behind_for;
	behind_for -= is_behind;
	pthread_mutex_unlock(&lock);
	return topology_hold(is_behind ? behind : t);
}

int node_leader(struct node *n, uint32_t group)
{
	pthread_mutex_lock(&lock);
	int leader = group <= GROUP ? n->leader : -1;
	pthread_mutex_unlock(&lock);
	return leader;
}

static unsigned elected_in; /* looks; 0: nobody is */

int64_t node_unled_ns(struct node *n, uint32_t group, bool *ret_cut_off)
{
	(void)group;
	pthread_mutex_lock(&lock);
	if (elected_in && !--elected_in) {
		n->leader = 2;
		nodes[2].serves = true;
	}
	*ret_cut_off = n->cut_off;
	int64_t unled_ns = n->unled_ns;
	pthread_mutex_unlock(&lock);
	return unled_ns;
}

bool node_serves(struct node *n, uint32_t group)
{
	pthread_mutex_lock(&lock);
	bool serves = group <= GROUP && n->serves;
	pthread_mutex_unlock(&lock);
	return serves;
}

void node_group_status(struct node *n, uint32_t group, struct group_status *ret_status)
{
	pthread_mutex_lock(&lock);
	*ret_status = (struct group_status){.held = true,
	    .role = n->serves ? REPLICA_LEADER : REPLICA_FOLLOWER,
	    .term = n->term,
	    .leader = n->leader,
	    .serving = n->serves,
	    .quorum = true,
	    .committed = group == GROUP ? reference.index[GROUP] : 0,
	    .heard_ns = n->heard_ns};
	pthread_mutex_unlock(&lock);
}

size_t node_groups(struct node *n, struct msg_group_status *out)
{
	for (uint32_t g = 0; g <= GROUP; g++) {
		struct group_status s;
		node_group_status(n, g, &s);
		out[g] = (struct msg_group_status){.group = g, .role = s.role, .term = s.term, .committed = s.committed,
		    .node = t->clouds[n->self].name, .leader = s.leader < 0 ? "" : t->clouds[s.leader].name, .quorum = s.quorum};
		if (!n->serves)
			continue;
		out[g].replica_count = 1;
		out[g].replicas = xcalloc(1, sizeof(*out[g].replicas));
		out[g].replicas[0] = (struct msg_replica_status){.node = t->clouds[(n->self + 1) % NODES].name, .match = 7};
	}
	return GROUP + 1;
}

bool node_cluster_id(struct node *n, uint8_t ret_id[CLUSTER_ID_BYTES])
{
	(void)n;
	memset(ret_id, 7, CLUSTER_ID_BYTES);
	return true;
}

bool node_edges_json(struct node *n, struct buf *out)
{
	(void)n;
	if (edges_leads_in) {
		edges_leads_in--;
		return false;
	}
	buf_put(out, edges_json.data, edges_json.len);
	return true;
}

/* ---- the way between nodes --------------------------------------------------------------------------------------- */

struct rpc_call {
	uint32_t node;
	bool over, lost;
	int rc;
	struct msg reply;
};

static unsigned calls_open;
static pthread_cond_t replied = PTHREAD_COND_INITIALIZER;
static void (*on_silence)(void); /* while somebody waits for a node that is dead */

struct rpc_call *rpc_start(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns)
{
	(void)r;
	ck_assert_int_gt(timeout_ns, 0);
	struct rpc_call *c = xcalloc(1, sizeof(*c));
	c->node = node;
	pthread_mutex_lock(&lock);
	calls_open++;
	nodes[node].asked++;
	c->lost = nodes[node].dead;
	bool foreign = nodes[node].foreign;
	pthread_mutex_unlock(&lock);
	if (foreign) {
		c->reply = (struct msg){.type = MSG_ERROR};
		c->reply.error.verdict = VERDICT_REFUSED;
		c->reply.error.reason = "another cluster";
		c->over = true;
	}
	if (c->lost || foreign)
		return c;
	uint8_t id[CLUSTER_ID_BYTES];
	struct buf frame = {0};
	struct msg out = *m;
	node_cluster_id(NULL, id);
	out.from = "c1";
	out.req_id = 1;
	out.cluster_id = bytes_of(id, sizeof(id));
	ck_assert_int_eq(msg_encode(&out, &frame), 0);
	serve_frame(nodes[node].serve, bytes_of(&c, sizeof(c)), frame.data, frame.len);
	buf_free(&frame);
	return c;
}

static void on_reply(void *arg, struct bytes route, const void *frame, size_t len)
{
	(void)arg;
	struct rpc_call *c;
	ck_assert_uint_eq(route.n, sizeof(c));
	memcpy(&c, route.p, sizeof(c));
	pthread_mutex_lock(&lock);
	ck_assert_int_eq(msg_decode(frame, len, &c->reply), 0);
	c->over = true;
	pthread_cond_broadcast(&replied);
	pthread_mutex_unlock(&lock);
}

struct rpc_call *rpc_start_if_there(struct rpc *r, uint32_t node, const struct msg *m, int64_t timeout_ns, int64_t away_ns)
{
	ck_assert_int_gt(away_ns, 0);
	return rpc_start(r, node, m, timeout_ns);
}

int rpc_wait(struct rpc *r, struct rpc_call *c, int64_t ns)
{
	(void)r;
	(void)ns;
	pthread_mutex_lock(&lock);
	bool silent = c->lost && !c->over;
	while (!silent && !c->over)
		pthread_cond_wait(&replied, &lock);
	pthread_mutex_unlock(&lock);
	if (!silent)
		return 0;
	if (!on_silence) { /* time passes */
		c->over = true;
		c->rc = WEIR_ETIMEOUT;
		return 0;
	}
	on_silence();
	return WEIR_ETIMEOUT;
}

int rpc_finish(struct rpc *r, struct rpc_call *c, struct msg *ret_reply)
{
	if (rpc_wait(r, c, 0))
		c->rc = WEIR_ETIMEOUT;
	int rc = c->rc;
	if (!rc)
		*ret_reply = c->reply;
	calls_open--;
	free(c);
	return rc;
}

void rpc_cancel(struct rpc *r, struct rpc_call *c)
{
	(void)r;
	ck_assert(c->lost);
	calls_open--;
	free(c);
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static uint64_t asked_by; /* map's version; 0: it does not matter */

static struct gather gather_of(uint32_t node)
{
	return (struct gather){t, node, nodes[node].serve, NULL, &nodes[node], nodes[node].progress, asked_by};
}

static struct topology *make_topology(unsigned replicas)
{
	struct buf text = {0}, errors = {0};
	struct topology *made;
	buf_printf(&text, "version: 1\ncluster: {name: test, shards: 1, replicas: %u, security: none}\ncloud:\n", replicas);
	for (unsigned i = 1; i <= NODES; i++)
		buf_printf(&text, "  - {name: c%u, listen: \"tcp://127.0.0.1:710%u\", http: \"127.0.0.1:810%u\", data: c%u}\n", i, i, i, i);
	buf_printf(&text, "edges:\n  - {name: e1, sources: [{type: stdin}]}\nstreams:\n%s", streams);
	buf_printf(&text, "sinks:\n  - {name: out, type: file, path: \"out-{node}\"}\n");
	int rc = topology_parse("t.yaml", text.data, text.len, &made, &errors);
	ck_assert_msg(!rc, "%s", buf_cstr(&errors));
	buf_free(&text);
	buf_free(&errors);
	return made;
}

static bool sinks_damaged; /* c2's answer */

/* Each has delivered a row; c2 fails. */
static void on_sinks(void *arg, struct buf *out)
{
	struct node *n = arg;
	struct sink_figures f = {.rows = 1, .failing_ns = n->self == 1, .why = "away"};
	buf_varint(out, n->self == 1 && sinks_damaged ? 2 : 1);
	sink_figures_put("out", &f, out);
}

static void open_nodes(unsigned replicas)
{
	t = make_topology(replicas);
	kit_init(&reference, 1, streams);
	for (uint32_t i = 0; i < NODES; i++) {
		struct node *n = &nodes[i];
		n->self = i;
		n->term = 1;
		kit_init(&n->kit, 1, streams);
		n->progress = progress_new(topology_groups(t), on_reader, n);
		n->stats = metrics_new();
		struct serve_options o = {.topology = t, .self = i, .state = n->kit.kv, .node = n, .progress = n->progress,
		    .arg = n, .reply = on_reply, .sinks = n->of_before ? NULL : on_sinks, .busy = metrics_cell(n->stats, METRICS_SERVE_BUSY, NULL)};
		n->serve = serve_new(&o);
	}
}

static void setup(void)
{
	open_nodes(3);
}

static void setup_two_replicas(void)
{
	open_nodes(2);
}

static void teardown(void)
{
	ck_assert_uint_eq(calls_open, 0);
	for (uint32_t i = 0; i < NODES; i++) {
		progress_stop(nodes[i].progress);
		serve_free(nodes[i].serve);
		progress_free(nodes[i].progress);
		stats_free(nodes[i].stats);
		kit_close(&nodes[i].kit);
	}
	kit_close(&reference);
	topology_free(t);
	buf_free(&edges_json);
}

/* All nodes know it, and the one that was deposed too. */
static void lead(int node, uint64_t term)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < NODES; i++) {
		nodes[i].leader = node;
		nodes[i].serves = i == node;
		nodes[i].term = term;
	}
	pthread_mutex_unlock(&lock);
}

/* The readings in the rows of a page; -1: an error, its reason in `reason`. */
static char reason[QUERY_REASON_MAX];
static int last_rc;

struct answer_page {
	size_t rows;
	uint64_t behind_entries;
	int64_t age_ns;
	int64_t kept_ns;
};

static bool ask_page(uint32_t from, bool linearizable, struct answer_page *ret)
{
	struct gather g = gather_of(from);
	struct query_source source = gather_source(&g);
	struct query_page page = {0};
	struct rows_spec spec = kit_spec(&reference, "s");
	spec.limit = 1000;
	void *handle = source.start(source.arg, 0, &spec, linearizable);
	last_rc = source.finish(source.arg, handle, &page, reason);
	*ret = (struct answer_page){0, page.behind_entries, page.age_ns, page.kept_ns};
	if (!last_rc) {
		struct partial_spec ps;
		struct rows_reader *reader;
		struct row *row;
		partial_spec_of(kit_stream(&reference, "s"), topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &ps);
		ck_assert_int_eq(rows_reader_open(bytes_of(page.rows.data, page.rows.len), &ps, &reader), 0);
		while (rows_reader_next(reader, &row) > 0)
			ret->rows++;
		rows_reader_close(reader);
	}
	buf_free(&page.rows);
	return !last_rc;
}

/* ---- linearizable ------------------------------------------------------------------------------------------------ */

START_TEST(a_leader_answers_with_all_that_is_committed)
{
	struct answer_page page;
	lead(1, 2);
	commit_steps(6); /* three readings, and nobody has them in its state */
	for (uint32_t from = 0; from < NODES; from++) {
		ck_assert_msg(ask_page(from, true, &page), "%s", reason);
		ck_assert_uint_eq(page.rows, 3);
		ck_assert(!page.behind_entries && !page.age_ns);
		ck_assert_int_eq(page.kept_ns, 5 * 60 * SEC);
	}
	ck_assert(!nodes[0].applied_step && !nodes[2].applied_step); /* it was the leader's */
}
END_TEST

static unsigned looks;

/* The new leader is known at the second look. */
static void elect_second(void)
{
	if (++looks == 2)
		lead(2, 3);
}

START_TEST(a_dead_leaders_page_is_asked_of_the_next)
{
	struct answer_page page;
	lead(1, 2);
	commit_steps(4);
	nodes[1].dead = true;
	on_silence = elect_second;
	ck_assert_msg(ask_page(0, true, &page), "%s", reason);
	ck_assert_uint_eq(page.rows, 2);
	ck_assert(nodes[1].asked == 1 && nodes[2].asked == 1);
}
END_TEST

static void lose_and_elect_same(void)
{
	looks++;
	if (looks == 1)
		lead(-1, 2);
	if (looks == 3) {
		nodes[1].dead = false; /* it came back, and does not know what it was asked before */
		lead(1, 4);
	}
}

/* Another life of the same node. With the request lost, only asking again helps. */
START_TEST(a_leader_that_came_back_is_asked_again)
{
	struct answer_page page;
	lead(1, 2);
	commit_steps(2);
	nodes[1].dead = true;
	on_silence = lose_and_elect_same;
	ck_assert_msg(ask_page(0, true, &page), "%s", reason);
	ck_assert(page.rows == 1 && nodes[1].asked == 2);
}
END_TEST

/* This node believes in a leader that has been deposed. */
static void *learn_later(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	while (!nodes[1].asked)
		pthread_cond_wait(&replied, &lock);
	nodes[0].leader = 2;
	pthread_mutex_unlock(&lock);
	return NULL;
}

START_TEST(a_deposed_leader_refuses_and_the_new_one_is_asked)
{
	pthread_t thread;
	struct answer_page page;
	lead(2, 3);
	commit_steps(2);
	nodes[0].leader = 1;
	ck_assert_int_eq(pthread_create(&thread, NULL, learn_later, NULL), 0);
	ck_assert_msg(ask_page(0, true, &page), "%s", reason);
	pthread_join(thread, NULL);
	ck_assert(page.rows == 1 && nodes[1].asked >= 1 && nodes[2].asked == 1);
	ck_assert_uint_eq(nodes[1].applied_step, 0);
}
END_TEST

/* It still thinks that it leads; the majority does not confirm it. */
START_TEST(a_leader_that_is_not_confirmed_answers_nothing)
{
	const char *why = "";
	struct buf spec = {0}, rows = {0};
	struct serve_age age;
	bool more;
	lead(1, 2);
	commit_steps(2);
	struct rows_spec wanted = kit_spec(&reference, "s");
	wanted.limit = 10;
	rows_spec_encode(&wanted, &spec);
	lead(2, 3); /* node 1's loop knows, its readers may not */
	ck_assert_int_eq(serve_query(nodes[1].serve, 0, true, bytes_of(spec.data, spec.len), 0, &rows, &more, &age, &why),
	    VERDICT_UNAVAILABLE);
	ck_assert_ptr_eq(why, serve_not_leader);
	uint64_t index;
	ck_assert_int_eq(progress_read_index(nodes[1].progress, GROUP, SERVE_WAIT_NS, &index), WEIR_ENOTLEADER);
	buf_free(&spec);
	buf_free(&rows);
}
END_TEST

static void nothing_changes(void)
{
}

/* Nobody leads, and it is known that nobody will soon: the asker is told, and not when its time is over. */
START_TEST(where_no_leader_can_come_nobody_waits_for_one)
{
	struct answer_page page;
	lead(-1, 2);
	nodes[0].unled_ns = GATHER_UNLED_NS;
	ck_assert(!ask_page(0, true, &page));
	ck_assert_int_eq(last_rc, WEIR_ENOTLEADER);
	ck_assert_str_eq(reason, "shard 0 has no leader that this node can reach");
	nodes[0].unled_ns = GATHER_CUT_OFF_NS;
	nodes[0].cut_off = true;
	ck_assert(!ask_page(0, true, &page));
	ck_assert_str_eq(reason, "shard 0 has no leader that this node can reach");
	lead(1, 3); /* one is known, but does not answer */
	nodes[1].dead = true;
	on_silence = nothing_changes;
	ck_assert(!ask_page(0, true, &page));
	ck_assert_str_eq(reason, "shard 0 has no leader that this node can reach");
}
END_TEST

START_TEST(an_election_is_waited_for)
{
	for (int cut_off = 0; cut_off < 2; cut_off++) {
		struct answer_page page;
		lead(-1, 2);
		nodes[0].cut_off = cut_off;
		nodes[0].unled_ns = (cut_off ? GATHER_CUT_OFF_NS : GATHER_UNLED_NS) - 1;
		elected_in = 3;
		commit_steps(2);
		ck_assert_msg(ask_page(0, true, &page), "%s", reason);
		ck_assert_uint_eq(page.rows, (size_t)cut_off + 1);
	}
}
END_TEST

START_TEST(stopping_ends_the_search_for_a_leader)
{
	struct answer_page page;
	lead(-1, 2);
	progress_stop(nodes[0].progress);
	ck_assert(!ask_page(0, true, &page));
	ck_assert_int_eq(last_rc, WEIR_ECLOSED);
}
END_TEST

/* Which version of a stream answers may be another matter by a later map. */
START_TEST(what_was_asked_by_an_earlier_map_is_refused)
{
	struct answer_page page;
	lead(1, 2);
	map_step = 2;
	t->map_version = MAP_VERSION;
	commit_steps(5);
	for (uint32_t node = 0; node < 2; node++) {
		asked_by = MAP_VERSION - 1;
		ck_assert(!ask_page(node, true, &page));
		ck_assert_int_eq(last_rc, WEIR_EVERSION);
		ck_assert_msg(ask_page(2, false, &page), "%s", reason); /* it may be stale */
		asked_by = MAP_VERSION;
		ck_assert_msg(ask_page(node, true, &page), "%s", reason);
		ck_assert_uint_eq(page.rows, 2);
		asked_by = 0;
		ck_assert_msg(ask_page(node, true, &page), "%s", reason);
	}
}
END_TEST

START_TEST(a_leader_that_does_not_know_the_stream_yet_is_asked_again)
{
	struct answer_page page;
	struct buf text = {0}, errors = {0};
	struct topology *other;
	lead(1, 2);
	commit_steps(2);
	for (int unknown = 0; unknown < 2; unknown++) { /* the stream, or its version */
		buf_clear(&text);
		buf_put(&text, t->text, t->text_len);
		char *place = strstr(buf_cstr(&text), unknown ? "name: s," : "by: [a]");
		ck_assert_ptr_nonnull(place);
		place[unknown ? 6 : 5] = 'z';
		ck_assert_int_eq(topology_parse("t.yaml", text.data, text.len, &other, &errors), 0);
		behind = other;
		behind_for = 3;
		nodes[1].asked = 0;
		ck_assert_msg(ask_page(0, true, &page), "%s", reason);
		ck_assert_uint_eq(page.rows, 1);
		ck_assert_uint_ge(nodes[1].asked, 2);
		topology_free(other);
	}
	buf_free(&text);
	buf_free(&errors);
}
END_TEST

/* What its shard has rolled up by the map it could not read. */
START_TEST(a_leader_whose_map_is_behind_makes_no_page)
{
	struct answer_page page;
	struct buf errors = {0};
	struct topology *other;
	lead(1, 2);
	map_step = 2;
	t->map_version = MAP_VERSION;
	commit_steps(5);
	ck_assert_int_eq(topology_parse("t.yaml", t->text, t->text_len, &other, &errors), 0);
	other->map_version = MAP_VERSION - 1;
	behind = other;
	behind_for = 3;
	ck_assert_msg(ask_page(0, true, &page), "%s", reason);
	ck_assert_uint_eq(page.rows, 2);
	ck_assert_uint_eq(nodes[1].asked, 4);
	topology_free(other);
	buf_free(&errors);
}
END_TEST

/* ---- stale ------------------------------------------------------------------------------------------------------- */

START_TEST(what_may_be_stale_is_read_here_and_says_how_old)
{
	struct answer_page page;
	lead(-1, 2); /* not even a leader is needed */
	commit_steps(6);
	follow(&nodes[0], 2);
	nodes[0].heard_ns = 5000;
	ck_assert_msg(ask_page(0, false, &page), "%s", reason);
	ck_assert_uint_eq(page.rows, 1);
	ck_assert_uint_eq(page.behind_entries, reference.index[GROUP] - nodes[0].kit.index[GROUP]);
	ck_assert_int_eq(page.age_ns, 5000);
	ck_assert(!nodes[1].asked && !nodes[2].asked);
}
END_TEST

START_TEST(an_empty_replica_says_nothing_and_another_is_asked)
{
	struct answer_page page;
	lead(2, 2);
	commit_steps(4);
	follow(&nodes[1], 4);
	follow(&nodes[2], 2);
	ck_assert_msg(ask_page(0, false, &page), "%s", reason); /* 0 is empty; 2 leads */
	ck_assert(page.rows == 1 && nodes[2].asked == 1 && !nodes[1].asked);
	nodes[2].dead = true;
	ck_assert_msg(ask_page(0, false, &page), "%s", reason);
	ck_assert(page.rows == 2 && nodes[1].asked == 1);
	nodes[1].dead = true;
	ck_assert(!ask_page(0, false, &page)); /* each once, then it is over */
	ck_assert(nodes[1].asked == 2 && nodes[2].asked == 3);
}
END_TEST

START_TEST(a_node_without_the_shard_asks_those_that_have_it)
{
	struct answer_page page;
	lead(-1, 2);
	commit_steps(2);
	follow(&nodes[0], 2);
	follow(&nodes[1], 2);
	ck_assert_msg(ask_page(2, false, &page), "%s", reason); /* two replicas: 0 and 1 */
	ck_assert(page.rows == 1 && nodes[0].asked == 1 && !nodes[1].asked);
}
END_TEST

/* ---- outbox ------------------------------------------------------------------------------------------------------ */

struct told {
	uint64_t index[TOLD_MAX];
	uint64_t readings[TOLD_MAX];
	size_t count;
	bool reset;
};

static int tell(uint32_t from, uint64_t *index, uint32_t *n, uint32_t limit, struct told *told)
{
	struct gather g = gather_of(from);
	struct buf rows = {0};
	bool reset = false;
	int asked;
	int rc = gather_outbox(&g, 0, "s", 0, index, n, limit, &rows, &reset, &asked, reason);
	told->reset = told->reset || reset;
	if (!rc) {
		struct partial_spec ps;
		struct rows_reader *reader;
		struct row *row;
		partial_spec_of(kit_stream(&reference, "s"), topology_distinct_seed(t), PARTIAL_QUANTILE_CAP_CLOUD, &ps);
		ck_assert_int_eq(rows_reader_open(bytes_of(rows.data, rows.len), &ps, &reader), 0);
		while (rows_reader_next(reader, &row) > 0) {
			ck_assert_uint_lt(told->count, TOLD_MAX);
			told->readings[told->count] = row->partial.count;
			told->index[told->count++] = row->outbox_index;
		}
		rows_reader_close(reader);
	}
	buf_free(&rows);
	return rc;
}

/* A watcher's place is good on each replica, however far it is behind when it begins to lead. */
START_TEST(a_watch_loses_nothing_when_leaders_change)
{
	struct told told = {0}, all = {0};
	uint64_t index = 0, at = 0;
	uint32_t n = 0, at_n = 0;
	for (unsigned round = 0; round < 8; round++) {
		commit_steps(4);
		lead((int)(round % NODES), round + 1); /* behind by all that the others did meanwhile */
		ck_assert_msg(!tell((round + 1) % NODES, &index, &n, 1 + round % 3, &told), "%s", reason);
	}
	for (size_t before = TOLD_MAX; before != told.count;) {
		before = told.count;
		ck_assert_int_eq(tell(0, &index, &n, 3, &told), 0);
	}
	ck_assert(!told.reset);
	for (size_t before = TOLD_MAX; before != all.count;) {
		before = all.count;
		ck_assert_int_eq(tell(1, &at, &at_n, 100, &all), 0);
	}
	ck_assert_uint_eq(all.count, 16); /* each window once */
	ck_assert_uint_eq(told.count, all.count);
	ck_assert_int_eq(memcmp(told.index, all.index, sizeof(all.index)), 0);
}
END_TEST

/* Rows are made when they are told. The next leader's state has the row, and not yet what changed the window since. */
START_TEST(no_leader_tells_of_a_window_as_it_was)
{
	struct told first = {0}, second = {0};
	uint64_t index = 0, again = 0;
	uint32_t n = 0, again_n = 0;
	late_step = 2;
	commit_steps(3);
	lead(0, 2);
	ck_assert_int_eq(tell(2, &index, &n, 10, &first), 0);
	ck_assert(first.count == 1 && first.readings[0] == 2);
	follow(&nodes[1], 2);
	lead(1, 3);
	ck_assert_int_eq(tell(2, &again, &again_n, 10, &second), 0);
	ck_assert(second.count == 1 && second.readings[0] == 2);
	uint64_t rounds[2];
	struct progress_reads reads;
	for (int i = 0; i < 2; i++) { /* made sure of once, not with every look */
		ck_assert_int_eq(tell(2, &again, &again_n, 10, &second), 0);
		progress_reads(nodes[1].progress, &reads);
		rounds[i] = reads.begun;
	}
	ck_assert(rounds[0] == 1 && rounds[1] == 1);
}
END_TEST

/* It was stopped for a while, and has made sure of its state before. */
START_TEST(a_leader_that_was_deposed_tells_of_nothing)
{
	struct told told = {0};
	uint64_t index = 0;
	uint32_t n = 0;
	late_step = 2;
	commit_steps(1);
	lead(0, 2);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(!told.count);
	commit_steps(1);
	follow(&nodes[0], 2);
	nodes[0].deposed = true;
	commit_steps(1);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), WEIR_ENOTLEADER);
	ck_assert(!index && !n && !told.count);
	lead(1, 3);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(told.count == 1 && told.readings[0] == 2);
	/* elected again, in what it still takes for its old term */
	struct told again = {0};
	index = n = 0;
	nodes[0].deposed = false;
	lead(0, 2);
	ck_assert_int_eq(tell(0, &index, &n, 10, &again), 0);
	ck_assert(again.count == 1 && again.readings[0] == 2);
}
END_TEST

START_TEST(only_a_leader_tells_rows)
{
	struct told told = {0};
	uint64_t index = 0;
	uint32_t n = 0;
	const char *why = "";
	bool reset;
	struct buf rows = {0};
	commit_steps(4);
	lead(1, 2);
	follow(&nodes[2], 4);
	ck_assert_int_eq(serve_outbox(nodes[2].serve, 0, "s", 0, &index, &n, 10, &rows, &reset, NULL, &why), VERDICT_UNAVAILABLE);
	ck_assert_ptr_eq(why, serve_not_leader);
	lead(-1, 2);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), WEIR_ENOTLEADER); /* at once: it is asked again later */
	ck_assert(!index && !n && !told.count);
	buf_free(&rows);
}
END_TEST

/* Which windows are whose it does not know: it would pass them over. */
START_TEST(a_leader_whose_map_is_behind_tells_nothing_yet)
{
	struct told told = {0};
	uint64_t index = 0;
	uint32_t n = 0;
	map_step = 2;
	commit_steps(5);
	lead(1, 2);
	t->map_version = MAP_VERSION - 1;
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), WEIR_ENOTLEADER);
	ck_assert(!index && !n && !told.count);
	t->map_version = MAP_VERSION;
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert_uint_eq(told.count, 1);
}
END_TEST

/* The shard would pass over what a new sink tells it of its beginning. */
START_TEST(a_sink_begins_where_the_shard_goes_by_its_map)
{
	struct serve_place rows = {0}, alerts = {0};
	const char *why = "";
	map_step = 2;
	commit_steps(5);
	lead(1, 2);
	for (t->map_version = MAP_VERSION - 1; t->map_version <= MAP_VERSION + 1; t->map_version++) {
		enum verdict want = t->map_version == MAP_VERSION ? VERDICT_OK : VERDICT_UNAVAILABLE;
		ck_assert_int_eq(serve_places(nodes[1].serve, t, 0, "x", &rows, &why), want);
		ck_assert_int_eq(serve_alert_place(nodes[1].serve, 0, "x", &alerts, &why), want);
	}
	ck_assert(!rows.stored && !alerts.stored);
}
END_TEST

START_TEST(a_place_beyond_all_that_is_committed_is_foreign)
{
	struct told told = {0};
	uint64_t index = 1000000;
	uint32_t n = 0;
	commit_steps(4);
	lead(1, 2);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(told.reset && told.count == 2);
	/* beyond the leader's state alone it is not */
	commit_steps(4);
	index = reference.index[GROUP];
	told = (struct told){0};
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(!told.reset && index == reference.index[GROUP]);
	/* nor is one that another replica told of, which has applied more than the leader has told of */
	commit_steps(5);
	lead(2, 3);
	untold = 1;
	index = reference.index[GROUP];
	n = 0;
	told = (struct told){0};
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(!told.reset && index == reference.index[GROUP]);
}
END_TEST

START_TEST(a_watch_begins_at_the_end_that_a_leader_knows)
{
	uint64_t index = 0;
	uint32_t n = 0;
	struct gather g = gather_of(0);
	commit_steps(4);
	lead(1, 2);
	ck_assert_int_eq(gather_outbox_end(&g, 0, "s", 0, 60 * SEC, &index, &n, reason), 0);
	struct told told = {0};
	ck_assert_int_eq(tell(2, &index, &n, 10, &told), 0);
	ck_assert(!told.count && !told.reset && index);
	/* without a leader any replica's end will do, and nothing is lost */
	uint64_t old = index;
	commit_steps(4);
	lead(-1, 2);
	follow(&nodes[0], 4);
	ck_assert_int_eq(gather_outbox_end(&g, 0, "s", 0, 1, &index, &n, reason), 0);
	ck_assert_uint_eq(index, old);
	lead(2, 3);
	ck_assert_int_eq(tell(0, &index, &n, 10, &told), 0);
	ck_assert(told.count == 2 && !told.reset);
}
END_TEST

/* ---- status ------------------------------------------------------------------------------------------------------ */

START_TEST(every_replica_says_how_its_groups_are)
{
	struct gather g = gather_of(0);
	lead(1, 2);
	commit_steps(4);
	for (int i = 0; i < NODES; i++)
		follow(&nodes[i], i == 2 ? 2 : 4);
	struct gather_status *all = gather_status_all(&g);
	const struct msg_group_status *a = gather_group(&all[0], GROUP), *b = gather_group(&all[1], GROUP),
				      *c = gather_group(&all[2], GROUP);
	ck_assert(a && b && c);
	ck_assert(a->digest_hi == b->digest_hi && a->digest_lo == b->digest_lo && a->digest_index == b->digest_index);
	ck_assert(c->digest_index < a->digest_index && c->applied == c->digest_index);
	ck_assert(b->role == REPLICA_LEADER && a->role == REPLICA_FOLLOWER);
	ck_assert_str_eq(c->leader, "c2");
	ck_assert_uint_eq(b->replica_count, 1);
	ck_assert(!strcmp(b->replicas[0].node, "c3") && b->replicas[0].match == 7);
	gather_status_free(&g, all);
	nodes[1].dead = true;
	nodes[2].foreign = true;
	all = gather_status_all(&g);
	ck_assert(!all[0].rc && all[1].rc && !all[1].refused && all[2].rc && all[2].refused);
	gather_status_free(&g, all);
}
END_TEST

/* Twice the frame's size, with every character that could mislead who cuts it. */
START_TEST(a_long_list_of_edges_comes_whole)
{
	struct gather g = gather_of(0);
	struct buf got = {0};
	for (unsigned i = 0; i < 3000; i++)
		buf_printf(&edges_json, "%s{\"name\":\"e%u\",\"x\":\"} \\\" { \\\\\",\"streams\":[{\"name\":\"s\"},{\"k\":{}}],\"pad\":\"%0150u\"}",
		    i ? "," : "", i, i);
	for (int leader = 0; leader < 2; leader++) {
		lead(leader, 2);
		buf_clear(&got);
		ck_assert_msg(!gather_edges(&g, &got, reason), "%s", reason);
		ck_assert_uint_eq(got.len, edges_json.len);
		ck_assert_int_eq(memcmp(got.data, edges_json.data, got.len), 0);
	}
	ck_assert_uint_gt(nodes[1].asked, 4);
	buf_free(&got);
}
END_TEST

/* It serves, and does not know yet that it leads: it has no list of no edges. */
START_TEST(who_does_not_lead_yet_has_no_list)
{
	struct gather g = gather_of(0);
	struct buf got = {0};
	buf_printf(&edges_json, "{\"name\":\"e1\"}");
	for (int leader = 0; leader < 2; leader++) {
		lead(leader, 2);
		edges_leads_in = 2;
		buf_clear(&got);
		ck_assert_msg(!gather_edges(&g, &got, reason), "%s", reason);
		ck_assert_uint_eq(got.len, edges_json.len);
	}
	buf_free(&got);
}
END_TEST

START_TEST(an_edge_is_cut_at_no_size)
{
	struct gather g = gather_of(0);
	struct buf got = {0};
	buf_printf(&edges_json, "{\"name\":\"e1\",\"pad\":\"%0*u\"}", SERVE_EDGES_BYTES_MAX, 1);
	buf_printf(&edges_json, ",{\"name\":\"e2\"}");
	lead(1, 2);
	ck_assert_msg(!gather_edges(&g, &got, reason), "%s", reason);
	ck_assert(got.len == edges_json.len && !memcmp(got.data, edges_json.data, got.len));
	ck_assert_uint_eq(nodes[1].asked, 2);
	buf_free(&got);
}
END_TEST

START_TEST(streams_count_every_shard_once)
{
	struct gather g = gather_of(0);
	lead(1, 2);
	commit_steps(6);
	follow(&nodes[0], 2);
	follow(&nodes[1], 4);
	follow(&nodes[2], 6); /* the furthest; not the leader */
	struct serve_stream s = {.close_ns = WATERMARK_NONE, .final_ns = WATERMARK_NONE};
	ck_assert_msg(!gather_streams(&g, &s, reason), "%s", reason);
	ck_assert_uint_eq(s.merged, 3);
	ck_assert_uint_eq(s.groups, 1);
	nodes[2].dead = true;
	s = (struct serve_stream){.close_ns = WATERMARK_NONE, .final_ns = WATERMARK_NONE};
	ck_assert_msg(!gather_streams(&g, &s, reason), "%s", reason);
	ck_assert_uint_eq(s.merged, 2);
}
END_TEST

static void setup_one_of_before(void)
{
	nodes[2].of_before = true;
	open_nodes(3);
}

START_TEST(who_does_not_tell_of_sinks_has_not_answered)
{
	struct gather g = gather_of(0);
	struct sink_state out = {0};
	lead(1, 2);
	ck_assert_uint_eq(gather_sinks(&g, &out), 4);
	ck_assert(out.told_by == 3 && out.failing_at == 2 && out.sum.rows == 2);
	ck_assert_str_eq(out.sum.why, "away");
	out = (struct sink_state){0};
	sinks_damaged = true;
	ck_assert_uint_eq(gather_sinks(&g, &out), 6);
	ck_assert(out.told_by == 1 && !out.failing_at && out.sum.rows == 1);
	nodes[1].dead = true;
	out = (struct sink_state){0};
	ck_assert_uint_eq(gather_sinks(&g, &out), 6);
	ck_assert_uint_eq(out.told_by, 1);
}
END_TEST

START_TEST(every_node_tells_of_its_sinks)
{
	struct gather g = gather_of(2);
	struct sink_state out = {0};
	ck_assert_uint_eq(gather_sinks(&g, &out), 0);
	ck_assert(out.told_by == 7 && out.failing_at == 2 && out.sum.rows == 3);
	nodes[0].foreign = true;
	out = (struct sink_state){0};
	ck_assert_uint_eq(gather_sinks(&g, &out), 1);
	ck_assert_uint_eq(out.told_by, 6);
	size_t count = t->sink_count;
	unsigned asked = nodes[1].asked;
	t->sink_count = 0;
	ck_assert_uint_eq(gather_sinks(&g, NULL), 0);
	t->sink_count = count;
	ck_assert_uint_eq(nodes[1].asked, asked);
}
END_TEST

START_TEST(what_is_asked_for_is_checked)
{
	static const char *const bad[] = {"edges", "edges.", "edges.x", "edges.9999999999", "streams", "streams.", "streams.A!",
	    "streams.AA", "streams.E", "groups", "sinks.", ""};
	struct buf out = {0};
	const char *why;
	lead(0, 2);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(serve_status(nodes[0].serve, bad[i], &out, &why) == VERDICT_REFUSED, "%s", bad[i]);
	bool groups[SHARDS_MAX + 1];
	char what[SERVE_WHAT_MAX];
	memset(groups, true, sizeof(groups));
	serve_what_streams(groups, SHARDS_MAX + 1, what);
	ck_assert_uint_lt(strlen(what), SERVE_WHAT_MAX);
	serve_what_streams(groups, 2, what);
	ck_assert_str_eq(what, "streams.D");
	ck_assert_int_eq(serve_status(nodes[0].serve, what, &out, &why), VERDICT_OK);
	buf_free(&out);
}
END_TEST

START_TEST(snapshots_are_refused_where_none_are_made)
{
	struct msg m = {.type = MSG_SNAPSHOT}, reply;
	bool refused;
	m.snapshot.group = GROUP;
	struct gather g = gather_of(0);
	struct rpc_call *call = rpc_start(NULL, 1, &m, 1);
	ck_assert_int_eq(ask_take(&g, 1, call, MSG_SNAPSHOT_REPLY, &reply, &refused, reason), 0);
	ck_assert_int_eq(reply.snapshot_reply.verdict, VERDICT_UNAVAILABLE);
	msg_clear(&reply);
}
END_TEST

START_TEST(reads_are_counted)
{
	struct answer_page page;
	struct buf out = {0};
	lead(0, 2);
	commit_steps(2);
	ck_assert(ask_page(0, true, &page));
	serve_metrics(nodes[0].serve, &out);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\nweir_raft_reads_total{result=\"ok\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\nweir_raft_read_rounds_total 1\n"));
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cloudd/gather");
	TCase *three = tcase_create("three replicas"), *two = tcase_create("two replicas"), *before = tcase_create("one of the version before");
	tcase_add_checked_fixture(three, setup, teardown);
	tcase_add_checked_fixture(two, setup_two_replicas, teardown);
	tcase_add_checked_fixture(before, setup_one_of_before, teardown);
	tcase_add_test(before, who_does_not_tell_of_sinks_has_not_answered);
	tcase_add_test(three, a_leader_answers_with_all_that_is_committed);
	tcase_add_test(three, a_dead_leaders_page_is_asked_of_the_next);
	tcase_add_test(three, a_leader_that_came_back_is_asked_again);
	tcase_add_test(three, a_deposed_leader_refuses_and_the_new_one_is_asked);
	tcase_add_test(three, a_leader_that_is_not_confirmed_answers_nothing);
	tcase_add_test(three, where_no_leader_can_come_nobody_waits_for_one);
	tcase_add_test(three, an_election_is_waited_for);
	tcase_add_test(three, what_was_asked_by_an_earlier_map_is_refused);
	tcase_add_test(three, a_leader_that_does_not_know_the_stream_yet_is_asked_again);
	tcase_add_test(three, a_leader_whose_map_is_behind_makes_no_page);
	tcase_add_test(three, a_leader_whose_map_is_behind_tells_nothing_yet);
	tcase_add_test(three, stopping_ends_the_search_for_a_leader);
	tcase_add_test(three, what_may_be_stale_is_read_here_and_says_how_old);
	tcase_add_test(three, an_empty_replica_says_nothing_and_another_is_asked);
	tcase_add_test(two, a_node_without_the_shard_asks_those_that_have_it);
	tcase_add_test(three, a_watch_loses_nothing_when_leaders_change);
	tcase_add_test(three, no_leader_tells_of_a_window_as_it_was);
	tcase_add_test(three, a_leader_that_was_deposed_tells_of_nothing);
	tcase_add_test(three, only_a_leader_tells_rows);
	tcase_add_test(three, a_sink_begins_where_the_shard_goes_by_its_map);
	tcase_add_test(three, a_place_beyond_all_that_is_committed_is_foreign);
	tcase_add_test(three, a_watch_begins_at_the_end_that_a_leader_knows);
	tcase_add_test(three, every_replica_says_how_its_groups_are);
	tcase_add_test(three, a_long_list_of_edges_comes_whole);
	tcase_add_test(three, who_does_not_lead_yet_has_no_list);
	tcase_add_test(three, an_edge_is_cut_at_no_size);
	tcase_add_test(three, streams_count_every_shard_once);
	tcase_add_test(three, every_node_tells_of_its_sinks);
	tcase_add_test(three, what_is_asked_for_is_checked);
	tcase_add_test(three, snapshots_are_refused_where_none_are_made);
	tcase_add_test(three, reads_are_counted);
	suite_add_tcase(s, three);
	suite_add_tcase(s, two);
	suite_add_tcase(s, before);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}

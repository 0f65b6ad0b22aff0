/* Records of a spool, as they come out from behind their checksums. The edge starts from them or says why not; one that
 * starts keeps its ledger, whatever it finds, and goes on with a cloud that knows it or not. What the edge would answer of them is an
 * answer. */
#include <jansson.h>

#include "common/map.h"
#include "edged/local_query.h"
#include "tests/fuzz/dumps.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

/* NULL: it went over to another map and could not be opened again. */
static void check_ledger(const struct pipeline *p)
{
	struct pipeline_ledger l;
	if (!p)
		return;
	pipeline_ledger(p, &l);
	FUZZ_CHECK(l.read == l.accepted + l.refused && l.matched == l.aggregated + l.dropped);
	struct buf out = {0};
	pipeline_metrics(p, &out);
	buf_free(&out);
}

static int look(void *arg)
{
	(void)arg;
	return 0;
}

static void answer(struct kv *spool, const struct topology *t, const struct query_arg *args, size_t count)
{
	static const int64_t watermarks[MAP_VERSIONS_MAX];
	const struct local_view view = {.edge = "a", .watermark_ns = watermarks};
	const struct local_look l = {look, NULL};
	struct query_args parsed;
	struct query_error error;
	struct local_query q;
	struct kv_txn *txn;
	struct buf out = {0};
	if (query_args_parse(t, args, count, 0, &parsed, &error))
		return;
	local_query_init(&q, t, &parsed);
	FUZZ_CHECK(!kv_begin(spool, false, &txn));
	if (!local_query_run(&q, txn, &l)) {
		local_query_put(&q, &view, &out);
		json_t *j = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES, NULL);
		FUZZ_CHECK(j);
		json_decref(j);
	}
	kv_abort(txn);
	buf_free(&out);
	local_query_clear(&q);
}

static void answers(struct kv *spool)
{
	const struct topology *t = fuzz_topology_now();
	for (size_t i = 0; i < t->stream_count; i++) {
		const struct query_arg args[] = {{"stream", t->streams[i].name}, {"by", ""}, {"limit", "3"}};
		answer(spool, t, args, 1);
		answer(spool, t, args, 3);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sample s;
	sample_copy(fuzz_sample(), &s);
	sim_disk_free(s.spool);
	struct kv *spool = fuzz_database(data, len, SPOOL_DBS, &s.spool);
	dumps_spool(spool);
	answers(spool);
	kv_close(spool);
	struct sample_world *w = sample_open(&s);
	if (w) {
		check_ledger(sample_edge(w));
		sample_feed(w, 300);
		sample_pass(w, INT64_C(4000000000));
		check_ledger(sample_edge(w));
		sample_close(w);
	}
	sim_disk_free(s.log);
	sim_disk_free(s.state);
	sim_disk_free(s.spool);
	return 0;
}

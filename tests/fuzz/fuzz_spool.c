/* Records of a spool, as they come out from behind their checksums. The edge starts from them or says why not; one that
 * starts keeps its ledger, whatever it finds, and goes on with a cloud that knows it or not. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sample s;
	sample_copy(fuzz_sample(), &s);
	sim_disk_free(s.spool);
	struct kv *spool = fuzz_database(data, len, SPOOL_DBS, &s.spool);
	dumps_spool(spool);
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

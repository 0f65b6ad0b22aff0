/* Records of the log environment, as they come out from behind their checksums: a node starts from them or says why not; one
 * that starts, elects itself, applies what is there, and answers an edge. */
#include "tests/fuzz/dumps.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/sample.h"
#include "tests/sim/sim_kv.h"

#include "cloudd/apply.h"
#include "cloudd/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint32_t shards = fuzz_topology()->shards;
	struct sample s = {.topology = (struct topology *)(uintptr_t)fuzz_topology()};
	struct kv *log = fuzz_database(data, len, LOG_DBS(shards), &s.log);
	dumps_cloud(log, shards);
	kv_close(log);
	s.state = sim_disk_new(STATE_DBS(shards), SAMPLE_DISK_BYTES);
	s.spool = sim_disk_new(SPOOL_DBS, SAMPLE_DISK_BYTES);
	struct sample_world *w = sample_open(&s);
	if (w) {
		sample_pass(w, INT64_C(4000000000));
		sample_close(w);
	}
	sim_disk_free(s.log);
	sim_disk_free(s.state);
	sim_disk_free(s.spool);
	return 0;
}

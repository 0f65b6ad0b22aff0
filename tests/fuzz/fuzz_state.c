/* Records of the state environment, as they come out from behind their checksums: every value that apply and queries decode.
 * What they make of them is an error or an answer. */
#include <stdlib.h>

#include "tests/fuzz/dumps.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/reads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sim_disk *disk;
	struct apply *a;
	char *why = NULL;
	uint32_t shards = fuzz_topology()->shards;
	struct kv *kv = fuzz_database(data, len, STATE_DBS(shards), &disk);
	dumps_cloud(kv, shards);
	reads_fix_digest(kv, shards + 1);
	reads_all(kv);
	if (!apply_open(fuzz_topology(), kv, &a, &why)) {
		reads_then_writes(a, kv);
		apply_close(a);
		reads_all(kv);
	} else {
		FUZZ_CHECK(why);
	}
	free(why);
	fuzz_database_close(kv, disk);
	return 0;
}

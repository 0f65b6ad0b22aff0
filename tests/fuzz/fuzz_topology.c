/* topology.yaml: what is refused says where and why, what is taken passes its own checks again. */
#include "common/err.h"
#include "common/topology.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct topology *t = NULL;
	struct buf errors = {0};
	int rc = topology_parse("fuzz.yaml", data, len, &t, &errors);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_EINVAL && !t && errors.len > 0);
	} else {
		FUZZ_CHECK(t && !errors.len && t->shards >= 1 && t->shards <= SHARDS_MAX);
		for (size_t i = 0; i < t->stream_count; i++)
			FUZZ_CHECK(t->streams[i].version && t->streams[i].version == topology_stream_version(&t->streams[i]));
		topology_free(t);
	}
	buf_free(&errors);
	return 0;
}

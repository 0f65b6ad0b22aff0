/* The cluster map: what decodes encodes to the same content, and gives a topology or says why not. */
#include "common/err.h"
#include "common/map.h"
#include "tests/fuzz/fuzz.h"

static void check_again(const struct cluster_map *m)
{
	struct buf first = {0}, second = {0};
	struct cluster_map again;
	int rc = map_encode(m, &first);
	FUZZ_CHECK(!rc || rc == WEIR_ETOOBIG);
	if (!rc) {
		FUZZ_CHECK(!map_decode(fuzz_bytes(&first), &again));
		FUZZ_CHECK(!map_encode(&again, &second));
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
		map_clear(&again);
	}
	buf_free(&first);
	buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cluster_map m;
	int rc = map_decode(bytes_of(data, len), &m);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_ECORRUPT || rc == WEIR_EVERSION || rc == WEIR_ETRUNCATED || rc == WEIR_ETOOBIG);
		return 0;
	}
	check_again(&m);
	struct topology *t = NULL;
	struct buf errors = {0};
	rc = map_topology(&m, "fuzz.yaml", fuzz_topology(), &t, &errors);
	FUZZ_CHECK(!rc == !!t);
	topology_free(t);
	buf_free(&errors);
	map_clear(&m);
	return 0;
}

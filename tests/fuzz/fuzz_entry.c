/* Entries of the logs, a group's configuration, a group's hard state: what decodes encodes to the same content. */
#include <string.h>

#include "cloudd/entry.h"
#include "cloudd/jobs.h"
#include "common/err.h"
#include "raft/raft.h"
#include "tests/fuzz/fuzz.h"

static void try_entry(struct bytes raw)
{
	struct entry e, again;
	int rc = entry_decode(raw, &e);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_EVERSION || rc == WEIR_ECORRUPT || rc == WEIR_ETRUNCATED || rc == WEIR_ETOOBIG);
		return;
	}
	struct buf first = {0}, second = {0};
	entry_encode(&e, &first);
	FUZZ_CHECK(first.len <= raw.n); /* ours is the shortest */
	FUZZ_CHECK(!entry_decode(fuzz_bytes(&first), &again));
	entry_encode(&again, &second);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	entry_clear(&again);
	entry_clear(&e);
	buf_free(&first);
	buf_free(&second);
}

static void try_config(struct bytes raw)
{
	struct raft_config c, again;
	uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
	if (raft_config_decode(raw.p, raw.n, &c))
		return;
	size_t n = raft_config_encode(&c, bytes);
	FUZZ_CHECK(n <= sizeof(bytes) && !raft_config_decode(bytes, n, &again));
	uint8_t twice[RAFT_CONFIG_BYTES_MAX];
	FUZZ_CHECK(raft_config_encode(&again, twice) == n && !memcmp(bytes, twice, n));
}

static void try_group(struct bytes raw)
{
	struct log_group g;
	int rc = log_group_decode(raw, &g);
	FUZZ_CHECK(rc || g.config_len <= SNAPSHOT_CONFIG_MAX);
}

/* The first byte says which. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	struct bytes raw = bytes_of(data + 1, len - 1);
	switch (data[0]) {
	case 'c':
		try_config(raw);
		break;
	case 'g':
		try_group(raw);
		break;
	default:
		try_entry(raw);
		break;
	}
	return 0;
}

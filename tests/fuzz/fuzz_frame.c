/* Frames of edges and nodes, both ways: what decodes encodes again, decodes to the same bytes, and is within the limits. */
#include "common/codec.h"
#include "common/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/msg_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg m, again;
	int rc = msg_decode(data, len, &m);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_ECORRUPT || rc == WEIR_EVERSION || rc == WEIR_ETOOBIG);
		FUZZ_CHECK(m.type == MSG_NONE && !m.decoded && (rc == WEIR_EVERSION || !m.protocol));
		return 0;
	}
	struct buf first = {0}, second = {0}, text = {0}, text_again = {0};
	rc = msg_encode(&m, &first);
	/* What comes written shorter than we write it (a packed varint less, a field left out) may not fit a frame any more. */
	FUZZ_CHECK(!rc || rc == WEIR_ETOOBIG);
	if (!rc) {
		FUZZ_CHECK(!msg_decode(first.data, first.len, &again));
		FUZZ_CHECK(!msg_encode(&again, &second));
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
		m.protocol = again.protocol; /* ours, whatever it came with */
		msg_text(&m, &text);
		msg_text(&again, &text_again);
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&text), fuzz_bytes(&text_again)));
		msg_clear(&again);
	}
	msg_clear(&m);
	buf_free(&first);
	buf_free(&second);
	buf_free(&text);
	buf_free(&text_again);
	return 0;
}

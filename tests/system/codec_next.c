/* The codec of the next version, for daemons that stand in for one: each frame that leaves has the next protocol's number, and
 * fields that the present version does not know. Linked before libweircommon.a's; built with PROTOCOL_VERSION defined. */
#define msg_encode msg_encode_now
#include "common/codec.c"
#undef msg_encode

#include "tests/golden/later.h"

int msg_encode(const struct msg *m, struct buf *out);

int msg_encode(const struct msg *m, struct buf *out)
{
	struct buf now = {0};
	int rc = msg_encode_now(m, &now);
	if (!rc) {
		size_t before = out->len;
		weir_assert(later_frame(now.data, now.len, PROTOCOL_VERSION, out));
		if (out->len - before > FRAME_MAX) {
			out->len = before;
			rc = WEIR_ETOOBIG;
		}
	}
	buf_free(&now);
	return rc;
}

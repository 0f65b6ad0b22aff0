#include "tests/golden/later.h"

#include "common/codec.h"

#define FIELD_PROTOCOL 1
#define FIELD_BODY_MIN 16
#define FIELD_NEW 15000
#define WIRE_VARINT 0
#define WIRE_FIXED64 1
#define WIRE_BYTES 2
#define WIRE_FIXED32 5

static void put_new_fields(struct buf *out)
{
	buf_varint(out, FIELD_NEW << 3 | WIRE_VARINT);
	buf_varint(out, UINT64_MAX);
	buf_varint(out, (FIELD_NEW + 1) << 3 | WIRE_FIXED64);
	buf_u64(out, 42);
	buf_varint(out, (FIELD_NEW + 2) << 3 | WIRE_BYTES);
	buf_str(out, "what a later version adds");
	buf_varint(out, (FIELD_NEW + 3) << 3 | WIRE_FIXED32);
	buf_u32(out, 7);
}

static void copy_bytes(struct rd *r, uint64_t tag, struct buf *out)
{
	size_t n;
	const uint8_t *p = rd_bytes(r, FRAME_MAX, &n);
	if (r->err)
		return;
	struct buf body = {0};
	buf_put(&body, p, n);
	if (tag >> 3 >= FIELD_BODY_MIN)
		put_new_fields(&body);
	buf_varint(out, tag);
	buf_bytes(out, body.data, body.len);
	buf_free(&body);
}

static void copy_field(struct rd *r, uint32_t protocol, struct buf *out)
{
	uint64_t tag = rd_varint(r);
	if ((tag & 7) == WIRE_BYTES) {
		copy_bytes(r, tag, out);
	} else if ((tag & 7) == WIRE_VARINT) {
		uint64_t v = rd_varint(r);
		buf_varint(out, tag);
		buf_varint(out, tag >> 3 == FIELD_PROTOCOL ? protocol : v);
	} else {
		r->err = -1;
	}
}

bool later_frame(const void *frame, size_t len, uint32_t protocol, struct buf *out)
{
	struct rd r = rd_init(frame, len);
	size_t before = out->len;
	while (!r.err && rd_left(&r))
		copy_field(&r, protocol, out);
	put_new_fields(out);
	if (r.err)
		out->len = before;
	return !r.err;
}

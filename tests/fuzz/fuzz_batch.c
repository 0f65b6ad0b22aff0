/* Batches: both readers say the same; what was read and is written anew reads as the same; the numbers in the head agree. */
#include "common/batch.h"
#include "common/err.h"
#include "tests/fuzz/fuzz.h"

struct walk {
	int err;
	size_t count;
	struct buf partials; /* encoded, one after the other */
};

static struct partial_spec receivers(const struct batch_stream *s)
{
	struct partial_spec spec = s->spec;
	spec.quantile_cap = PARTIAL_QUANTILE_CAP_CLOUD;
	spec.distinct_seed = 7;
	return spec;
}

static void put_merged(const struct partial *p, const struct partial_spec *spec, struct buf *out)
{
	struct partial merged = {0};
	partial_merge(&merged, p, spec);
	partial_encode(&merged, spec, out);
	partial_clear(&merged, spec);
}

static struct walk walk_items(const uint8_t *data, size_t len, struct batch_writer *w)
{
	struct walk k = {0};
	struct batch_reader *r;
	struct batch_item *item;
	FUZZ_CHECK(!batch_reader_open(data, len, &r));
	while ((k.err = batch_reader_next(r, &item)) > 0) {
		const struct batch_stream *s = batch_reader_stream(r, item->stream);
		struct partial_spec spec = receivers(s);
		FUZZ_CHECK(item->group.n <= GROUP_KEY_MAX && item->partial.count > 0);
		put_merged(&item->partial, &spec, &k.partials);
		struct stream_conf conf = {.name = (char *)s->name, .version = s->version, .slice_ns = s->slice_ns};
		int rc = batch_writer_add(w, &conf, &spec, item->slice_start_ns, item->group, &item->partial);
		FUZZ_CHECK(!rc || rc == WEIR_EFULL || rc == WEIR_EINVAL || rc == WEIR_ETOOBIG);
		k.count++;
	}
	FUZZ_CHECK(k.err || k.count == batch_reader_count(r));
	batch_reader_close(r);
	return k;
}

static struct walk walk_packed(const uint8_t *data, size_t len)
{
	struct walk k = {0};
	struct batch_reader *r;
	struct batch_packed item;
	FUZZ_CHECK(!batch_reader_open(data, len, &r));
	while ((k.err = batch_reader_next_packed(r, &item)) > 0) {
		struct partial_spec spec = receivers(batch_reader_stream(r, item.stream));
		partial_merge_packed(NULL, &item.partial, &spec, &k.partials);
		k.count++;
	}
	batch_reader_close(r);
	return k;
}

static void write_again(struct batch_writer *w, uint64_t seq)
{
	struct buf body = {0}, renumbered = {0};
	struct batch_reader *r;
	size_t count = batch_writer_count(w);
	batch_writer_finish(w, seq, &body);
	FUZZ_CHECK(body.len <= BATCH_BODY_MAX && !batch_reader_open(body.data, body.len, &r));
	FUZZ_CHECK(batch_reader_count(r) == count && batch_reader_seq(r) == seq);
	batch_reader_close(r);
	FUZZ_CHECK(!batch_renumber(body.data, body.len, seq + 1, &renumbered));
	uint32_t shard;
	uint64_t number;
	FUZZ_CHECK(!batch_head(renumbered.data, renumbered.len, &shard, &number) && number == seq + 1);
	buf_free(&body);
	buf_free(&renumbered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct batch_reader *r;
	uint32_t shard;
	uint64_t seq;
	int head = batch_head(data, len, &shard, &seq), rc = batch_reader_open(data, len, &r);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_EVERSION || rc == WEIR_ECORRUPT || rc == WEIR_ETOOBIG || rc == WEIR_ETRUNCATED);
		return 0;
	}
	FUZZ_CHECK(!head && batch_reader_shard(r) == shard && batch_reader_seq(r) == seq);
	batch_reader_close(r);
	struct batch_writer *w = batch_writer_new(shard);
	struct walk items = walk_items(data, len, w), packed = walk_packed(data, len);
	FUZZ_CHECK(!items.err == !packed.err && items.count == packed.count);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&items.partials), fuzz_bytes(&packed.partials)));
	if (batch_writer_count(w))
		write_again(w, seq);
	batch_writer_free(w);
	buf_free(&items.partials);
	buf_free(&packed.partials);
	return 0;
}

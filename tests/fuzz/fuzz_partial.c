/* Stored partials: decoded whole or skimmed is the same; merged packed is merged. Input: [parts][distincts][two partials]. */
#include "common/err.h"
#include "common/partial.h"
#include "tests/fuzz/fuzz.h"

static void check_one(const struct partial *p, const struct partial_packed *packed, const struct partial_spec *spec)
{
	struct buf plain = {0}, skimmed = {0};
	struct partial merged = {0};
	partial_merge_packed(NULL, packed, spec, &skimmed);
	partial_merge(&merged, p, spec);
	partial_encode(&merged, spec, &plain);
	partial_clear(&merged, spec);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&plain), fuzz_bytes(&skimmed)));
	buf_clear(&plain);
	partial_encode(p, spec, &plain);
	struct rd r = rd_init(plain.data, plain.len);
	struct partial again = {0};
	FUZZ_CHECK(!partial_decode(&r, spec, &again) && !rd_finish(&r));
	struct buf twice = {0};
	partial_encode(&again, spec, &twice);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&plain), fuzz_bytes(&twice)));
	partial_clear(&again, spec);
	for (int fn = 0; fn < FN_DISTINCT && !partial_is_empty(p); fn++) {
		double value, error;
		bool null;
		if (fn != FN_QUANTILE || spec->parts & PARTIAL_QUANTILE)
			partial_eval(p, spec, (enum function)fn, 0.5, 0, &value, &error, &null);
	}
	buf_free(&plain);
	buf_free(&skimmed);
	buf_free(&twice);
}

static void check_merge(struct partial *a, const struct partial *b, const struct partial_packed *pa,
    const struct partial_packed *pb, const struct partial_spec *spec)
{
	struct buf packed = {0}, plain = {0};
	if (!partial_is_empty(a) && !partial_is_empty(b)) {
		partial_merge_packed(pa, pb, spec, &packed);
		partial_merge(a, b, spec);
		partial_encode(a, spec, &plain);
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&packed), fuzz_bytes(&plain)));
	}
	buf_free(&packed);
	buf_free(&plain);
}

/* Both ways to read one; they agree. */
static int read_one(struct rd *r, const struct partial_spec *spec, struct partial *ret, struct partial_packed *ret_packed)
{
	struct rd skim = *r;
	int rc = partial_decode(r, spec, ret), rc_skim = partial_skim(&skim, spec, ret_packed);
	FUZZ_CHECK(!rc == !rc_skim);
	FUZZ_CHECK(rc || r->p == skim.p);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 2)
		return 0;
	struct partial_spec spec = {.parts = data[0] & PARTIAL_PARTS_ALL, .distinct_count = data[1] % 3,
	    .quantile_cap = data[1] & 0x80 ? PARTIAL_QUANTILE_CAP_EDGE : PARTIAL_QUANTILE_CAP_CLOUD, .distinct_seed = 7};
	if (spec.parts & PARTIAL_QUANTILE)
		spec.parts |= PARTIAL_MINMAX;
	struct rd r = rd_init(data + 2, len - 2);
	struct partial a = {0}, b = {0};
	struct partial_packed pa = {0}, pb = {0};
	if (!read_one(&r, &spec, &a, &pa)) {
		check_one(&a, &pa, &spec);
		if (!read_one(&r, &spec, &b, &pb)) {
			check_one(&b, &pb, &spec);
			check_merge(&a, &b, &pa, &pb, &spec);
		}
	}
	partial_clear(&a, &spec);
	partial_clear(&b, &spec);
	return 0;
}

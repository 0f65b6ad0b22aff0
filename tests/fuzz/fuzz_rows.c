/* What nodes ask each other for rows, and the rows; what they tell of their sinks. The first byte says which. */
#include <string.h>

#include "cloudd/sink_states.h"
#include "common/err.h"
#include "common/rows.h"
#include "tests/fuzz/fuzz.h"

static void try_spec(struct bytes raw)
{
	struct rows_spec s, again;
	const struct stream_conf *stream;
	int rc = rows_spec_decode(raw, fuzz_topology(), &s, &stream);
	if (rc)
		return;
	struct buf first = {0}, second = {0};
	rows_spec_encode(&s, &first);
	FUZZ_CHECK(!rows_spec_decode(fuzz_bytes(&first), fuzz_topology(), &again, &stream));
	rows_spec_encode(&again, &second);
	FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	buf_free(&first);
	buf_free(&second);
}

static void try_rows(struct bytes raw)
{
	struct partial_spec spec;
	struct rows_reader *r;
	struct row *row;
	partial_spec_of(&fuzz_topology()->streams[0], 7, PARTIAL_QUANTILE_CAP_CLOUD, &spec);
	if (rows_reader_open(raw, &spec, &r))
		return;
	struct rows_writer *w = rows_writer_new(&spec, rows_reader_close_ns(r), rows_reader_final_ns(r));
	int rc;
	size_t count = 0;
	while ((rc = rows_reader_next(r, &row)) > 0) {
		FUZZ_CHECK(row->edges.missing_count <= ROWS_MISSING_MAX && row->group.n <= GROUP_KEY_MAX);
		rows_writer_add(w, row);
		count++;
	}
	rows_reader_close(r);
	struct buf out = {0};
	rows_writer_finish(w, &out);
	rows_writer_free(w);
	FUZZ_CHECK(!rows_reader_open(fuzz_bytes(&out), &spec, &r));
	while ((rc = rows_reader_next(r, &row)) > 0)
		count--;
	FUZZ_CHECK(!rc && !count);
	rows_reader_close(r);
	buf_free(&out);
}

/* A node that is damaged changes nothing of what others told. */
static void try_sinks(struct bytes raw)
{
	static const struct sink_state none[SINKS_MAX];
	struct sink_state states[SINKS_MAX] = {0};
	const struct topology *t = fuzz_topology_now();
	struct buf out = {0};
	int rc = sink_states_add(raw, t, 1, states);
	FUZZ_CHECK(!rc || !memcmp(states, none, sizeof(none)));
	for (size_t i = 0; i < SINKS_MAX; i++)
		FUZZ_CHECK(!(states[i].told_by & ~UINT64_C(2)) && !(states[i].failing_at & ~states[i].told_by) && states[i].sum.lag_ns >= 0);
	sink_states_json(t, states, 1, &out);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	struct bytes raw = bytes_of(data + 1, len - 1);
	if (data[0] == 's')
		try_spec(raw);
	else if (data[0] == 'k')
		try_sinks(raw);
	else
		try_rows(raw);
	return 0;
}

/* Marks of sources: one that is taken comes out again as it was. */
#include "common/err.h"
#include "common/loop.h"
#include "edged/source.h"
#include "tests/fuzz/fuzz.h"

static const char *on_line(void *arg, const struct line *l)
{
	(void)arg, (void)l;
	return NULL;
}

static void on_refuse(void *arg, const char *reason)
{
	(void)arg, (void)reason;
}

static void on_finished(void *arg, bool finished)
{
	(void)arg, (void)finished;
}

/* The first byte: which edge's source, of the sample's topology: a file, a simulation. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct loop *loop;
	if (!loop)
		FUZZ_CHECK(!loop_new(&loop));
	if (!len)
		return 0;
	struct source_io io = {.line = on_line, .refuse = on_refuse, .finished = on_finished};
	const struct source_conf *conf = &fuzz_topology()->edges[data[0] & 1].sources[0];
	struct source *s = source_new(loop, conf, &io), *t = source_new(loop, conf, &io);
	struct buf first = {0}, second = {0};
	if (!source_restore(s, bytes_of(data + 1, len - 1))) {
		source_mark(s, &first);
		FUZZ_CHECK(!source_restore(t, fuzz_bytes(&first)));
		source_mark(t, &second);
		FUZZ_CHECK(fuzz_same(fuzz_bytes(&first), fuzz_bytes(&second)));
	}
	source_free(s);
	source_free(t);
	buf_free(&first);
	buf_free(&second);
	return 0;
}

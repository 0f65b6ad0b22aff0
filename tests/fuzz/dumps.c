#include "tests/fuzz/dumps.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/apply.h"
#include "cloudd/dump.h"
#include "edged/dump.h"
#include "edged/pipeline.h"
#include "tests/fuzz/fuzz.h"

static void check(bool fine, const char *why, struct buf *out)
{
	FUZZ_CHECK(fine || (why && *why));
	buf_printf(out, "}");
	json_t *j = json_loads(buf_cstr(out), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	FUZZ_CHECK(j);
	json_decref(j);
	buf_clear(out);
}

/* d NULL: a spool. */
static void dump_one(struct dump *d, const char *db, struct bytes key, struct bytes value, struct buf *out)
{
	const char *why = NULL;
	buf_printf(out, "{\"of\": 1");
	bool fine = d ? dump_record(d, db, key, value, out, &why) : spool_dump_record(db, key, value, out, &why);
	check(fine, why, out);
	buf_printf(out, "{\"of\": 1");
	(void)(d ? dump_key(d, db, key, out) : spool_dump_key(db, key, out));
	check(true, NULL, out);
}

static void dump_all(struct kv *kv, struct dump *d, const char *const *names, unsigned count)
{
	struct kv_txn *txn;
	struct buf out = {0};
	if (kv_begin(kv, false, &txn))
		return;
	for (unsigned db = 0; db < count; db++) {
		struct kv_cursor *c;
		struct bytes key, value;
		if (kv_cursor_open(txn, db, &c))
			continue;
		for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value))
			dump_one(d, names[db], key, value, &out);
		kv_cursor_close(c);
	}
	kv_abort(txn);
	buf_free(&out);
}

void dumps_cloud(struct kv *kv, uint32_t shards)
{
	struct dump *d = dump_new();
	const char **names = apply_db_names(shards);
	dump_all(kv, d, names, STATE_DBS(shards));
	dump_free(d);
	free(names);
}

void dumps_spool(struct kv *kv)
{
	dump_all(kv, NULL, spool_db_names, SPOOL_DBS);
}

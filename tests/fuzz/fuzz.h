/* What the fuzz targets share. A target is one program, tests/fuzz/fuzz_NAME.c, linked with libFuzzer (./dev fuzz): its
 * LLVMFuzzerTestOneInput() gives one decoder some bytes, and checks what must hold of anything it takes. */
#ifndef WEIR_TESTS_FUZZ_H
#define WEIR_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "common/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Says where and what, and aborts, so that libFuzzer keeps the input. */
_Noreturn void fuzz_fail(const char *file, int line, const char *what);
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

bool fuzz_same(struct bytes a, struct bytes b);
static inline struct bytes fuzz_bytes(const struct buf *b)
{
	return bytes_of(b->data, b->len);
}

/* The topology of tests/golden/sample.h, made once; and what has become of it in the end, with all versions of its streams. */
const struct topology *fuzz_topology(void);
const struct topology *fuzz_topology_now(void);
/* All that it has stored: made once. */
struct sample;
const struct sample *fuzz_sample(void);
struct bytes fuzz_map(void); /* the cluster's, in the end */

/* Databases as input: [db u8][key length varint][key][value length varint][value]..., up to the first that is not whole.
 * Record heads are made on the way: what lies behind the checksums is what is tried. */
struct sim_disk;
struct kv *fuzz_database(const uint8_t *data, size_t len, unsigned dbs, struct sim_disk **ret_disk);
void fuzz_database_close(struct kv *kv, struct sim_disk *disk);

#endif

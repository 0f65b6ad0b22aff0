/* What golden_*.c share. */
#ifndef WEIR_TESTS_GOLDEN_IMPL_H
#define WEIR_TESTS_GOLDEN_IMPL_H

#include "common/kv.h"
#include "tests/golden/golden.h"

void golden_put_hex(struct buf *out, struct bytes b);
bool golden_get_hex(const char *text, size_t len, struct buf *out);
bool golden_save(const char *folder, const char *name, const struct buf *text, struct buf *wrong);
bool golden_write_frames(const char *version_folder, struct buf *wrong);
bool golden_write_databases(const char *version_folder, struct buf *wrong);

#endif

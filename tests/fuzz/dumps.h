/* What `weirctl store dump` makes of a database: of any bytes, a JSON object for each record, in which no key is twice. */
#ifndef WEIR_TESTS_FUZZ_DUMPS_H
#define WEIR_TESTS_FUZZ_DUMPS_H

#include "common/kv.h"

/* Of a cloudd's log or state; of a spool. */
void dumps_cloud(struct kv *kv, uint32_t shards);
void dumps_spool(struct kv *kv);

#endif

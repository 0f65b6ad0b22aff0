/* What a log's records hold that is consensus' own, as JSON: see cloudd/dump.h. Appends values. False: it does not read. */
#ifndef WEIR_CLOUDD_CONSENSUS_DUMP_H
#define WEIR_CLOUDD_CONSENSUS_DUMP_H

#include "common/buf.h"
#include "common/kv.h"

/* [{"node": 0, "member": "0123456789ab0000", "voter": true}, ...]; of no bytes: []. */
bool consensus_dump_config(struct bytes config, struct buf *out);
/* "data", "noop", "config" of a byte of the log; NULL: none. */
const char *consensus_dump_kind(uint8_t kind);

#endif

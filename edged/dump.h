/* The records of a spool as JSON, for people who look into one that is not open (weirctl store dump). Pure; any order. Wrong bytes are
 * never an error: they are told. */
#ifndef WEIR_EDGED_DUMP_H
#define WEIR_EDGED_DUMP_H

#include "common/buf.h"
#include "common/kv.h"

/* Appends members of a JSON object, each with ", " before it: what the record is, and what it says. db: its database's name. False:
 * it cannot be read; what it is may have been appended, and *ret_why (static text) says why. States of steps and sources' positions
 * are their own: as hexadecimal text. */
bool spool_dump_record(const char *db, struct bytes key, struct bytes value, struct buf *out, const char **ret_why);
/* The same of a key alone, whose value is lost. */
bool spool_dump_key(const char *db, struct bytes key, struct buf *out);

#endif

/* The records of a cloudd's log and state as JSON, for people who look into data that nobody serves (weirctl store dump).
 *
 * What a record says may need those before it (a partial's parts follow from the map and the stream's name): records of a
 * database come in the order of their keys. Wrong bytes are never an error: they are told. One thread. */
#ifndef WEIR_CLOUDD_DUMP_H
#define WEIR_CLOUDD_DUMP_H

#include "common/buf.h"
#include "common/kv.h"

struct dump;
struct dump *dump_new(void);
void dump_free(struct dump *d); /* NULL is fine */

/* Appends members of a JSON object, each with ", " before it: what the record is, and what it says. db: its database's name. False:
 * it cannot be read; what it is may have been appended, and *ret_why (static text) says why. */
bool dump_record(struct dump *d, const char *db, struct bytes key, struct bytes value, struct buf *out, const char **ret_why);
/* The same of a key alone, whose value is lost. */
bool dump_key(struct dump *d, const char *db, struct bytes key, struct buf *out);

#endif

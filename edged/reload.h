/* What SIGHUP does: reads the configuration again and says what is wrong with it, or what in it differs from what
 * this process runs with. Nothing is changed while it runs. */
#ifndef WEIR_EDGED_RELOAD_H
#define WEIR_EDGED_RELOAD_H

#include <stdint.h>

#include "common/buf.h"
#include "common/model.h"

/* Appends the names of the parts that differ for this edge, ", " between them: nothing appended, nothing differs.
 * Part "edge": the edge itself is gone. */
void reload_differences(const struct topology *was, const struct topology *now, uint32_t edge, struct buf *out);
/* Loads and logs. */
void reload_check(const char *config, const struct topology *was, uint32_t edge);

#endif
